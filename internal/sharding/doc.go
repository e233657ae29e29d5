// Package sharding is the function from tenants to shards. Its promise is that it never
// changes: data was written where it said, and is looked for where it says.
package sharding
