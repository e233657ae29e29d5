package engine_test

import (
	"os"
	"testing"

	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
)

func TestMain(m *testing.M) { os.Exit(warehousetest.Main(m)) }
