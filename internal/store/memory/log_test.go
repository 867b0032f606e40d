package memory_test

import (
	"testing"

	"github.com/rollcall-registry/rollcall/internal/store/memory"
	"github.com/rollcall-registry/rollcall/internal/store/storetest"
)

func TestLog(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		log := memory.New()
		t.Cleanup(func() { log.Close() })
		return storetest.Fixture{Log: log, Close: func() { log.Close() }}
	})
}
