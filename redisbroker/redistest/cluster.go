package redistest

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// StartCluster starts a cluster of three masters, without replicas: where one is away, so are
// its slots. It ends with the test.
func StartCluster(tb testing.TB, args ...string) []*Server {
	tb.Helper()
	Need(tb, "redis-cli")
	var nodes []*Server
	create := []string{"--cluster", "create"}
	for range 3 {
		s := Start(tb, append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
			"--cluster-require-full-coverage", "no", "--cluster-port", strconv.Itoa(freePort(tb))}, args...)...)
		nodes = append(nodes, s)
		create = append(create, s.Addr())
	}
	out, err := exec.Command("redis-cli", append(create, "--cluster-yes")...).CombinedOutput()
	if err != nil {
		tb.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	for _, s := range nodes {
		for deadline := time.Now().Add(Patience); !strings.Contains(s.CLI("CLUSTER", "INFO"), "cluster_state:ok"); {
			if time.Now().After(deadline) {
				tb.Fatal("the cluster is not ready")
			}
			<-time.After(10 * time.Millisecond)
		}
	}
	return nodes
}
