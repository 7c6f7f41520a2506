package main

import (
	"os"
	"testing"

	"github.com/wschannels/wschannels/internal/leak"
)

// asProgram is set for processes that are to be the program, and not its tests.
const asProgram = "WSCHANNELS_CLUSTER_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	leak.Main(m)
}
