//go:build !race

package wschannels_test

const boxRace = false
