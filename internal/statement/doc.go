// Package statement reads the SQL of the stages and says, for every statement, how
// it keeps to one tenant.
//
// Promise: a statement is called filtered only if every SELECT in it that reads a
// table with a tenant column compares that column with the parameter {tenant:String}
// by a condition that always holds for a row it returns. What does not is one of two
// things: declared, because the statement itself says in a comment line why it reads
// all tenants,
//
//	-- all tenants: the live totals count everybody's events
//
// or missing, which a test of the module and `panda audit queries` report. Which
// tables have a tenant is read from the migrations, so that a new table counts without
// anybody's doing.
//
// The texts are read with a lexer and the grammar of SELECT that is needed to find
// where tables are read and which conditions hold for them. What it does not
// understand it does not trust: an unknown table function, a filter under OR or on an
// alias that hides the column, and a table behind IN are all missing filters.
//
// Failure story: everything here is computed once from texts that are part of the
// binary. A text that cannot be read is missing its filter, with the reason.
package statement
