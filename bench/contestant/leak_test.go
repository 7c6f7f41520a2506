package contestant_test

import (
	"testing"

	"github.com/wschannels/wschannels/internal/leak"
)

// The cache of centrifuge leaves a goroutine when its node is closed.
func TestMain(m *testing.M) { leak.Main(m, "github.com/maypok86/otter") }
