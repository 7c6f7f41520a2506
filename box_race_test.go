//go:build race

package wschannels_test

// boxRace makes long tests shorter: the race detector sees the same code paths, at a
// tenth of the speed.
const boxRace = true
