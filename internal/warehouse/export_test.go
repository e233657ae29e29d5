package warehouse

// InsertByDriver makes db insert through clickhouse-go's batches, the way of the
// native protocol, whatever the protocol is.
func (db *DB) InsertByDriver() { db.blocks = nil }
