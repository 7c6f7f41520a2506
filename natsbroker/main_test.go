package natsbroker_test

import (
	"testing"

	"github.com/wschannels/wschannels/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
