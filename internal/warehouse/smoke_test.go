package warehouse_test

import (
	"testing"
	"context"
	"fmt"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/schemas"
	"os"
)

func TestSmoke(t *testing.T) {
	db := warehousetest.Open(t)
	ctx := context.Background()
	if err := db.Exec(ctx, "CREATE TABLE t (a Int64, s LowCardinality(String), k FixedString(16), c Nullable(Decimal(38,12)), m Map(LowCardinality(String), String)) ENGINE=MergeTree ORDER BY a"); err != nil { t.Fatal(err) }
	if err := db.Insert(ctx, "t", warehouse.Column{"a", []int64{1,2}}, warehouse.Column{"s", []string{"x;'","y"}}, warehouse.Column{"k", [][16]byte{{1},{2}}},
	 warehouse.Column{"c", warehouse.NullMoney{[]schemas.Money{schemas.Pico(5),{}}, []bool{false,true}}}, warehouse.Column{"m", []map[string]string{{"b":"1","a":"2"},nil}}); err != nil { t.Fatal(err) }
	rows, err := db.Query(ctx, "SELECT a,s,k,c,m FROM t WHERE a IN {a:Array(Int64)} ORDER BY a", warehouse.Param{"a", []int64{1,2}})
	if err != nil { t.Fatal(err) }
	for rows.Next() {
		var a int64; var s string; var k [16]byte; var c *schemas.Money; var m map[string]string
		if err := rows.Scan(&a,&s,&k,&c,&m); err != nil { t.Fatal(err) }
		fmt.Println(a,s,k,c,m)
	}
	if rows.Err() != nil { t.Fatal(rows.Err()) }
	err = db.Exec(ctx, "SELECT nosuch"); fmt.Println(err, warehouse.Code(err))
	_, err = db.Query(ctx, "INSERT INTO t (a) VALUES (1)"); fmt.Println(err)
	if err := db.Migrate(ctx, os.DirFS("../../schemas/sql")); err != nil { t.Fatal(err) }
}
