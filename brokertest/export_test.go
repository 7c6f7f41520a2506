package brokertest

import "time"

// SetPatience is for tests of brokers that have something to be found.
func SetPatience(d time.Duration) { patience = d }
