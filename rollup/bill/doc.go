// Package bill says what a tenant owes for a month, and its promise is that the same
// facts give the same bill, to the byte, and that every sum in it adds up.
package bill
