package erasure

import "io/fs"

// Statements returns the SQL of this package, in sql/*.sql, for whoever has to know
// what it reads.
func Statements() fs.FS { return statements }
