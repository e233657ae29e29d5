package ingest

import (
	"os"
	"testing"

	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
)

// TestMain lets this test binary be the engine's child process too.
func TestMain(m *testing.M) { os.Exit(warehousetest.Main(m)) }
