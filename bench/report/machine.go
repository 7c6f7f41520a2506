package report

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// A Machine is what everything ran on.
type Machine struct {
	CPU     string            `json:"cpu"`
	Cores   int               `json:"cores"`
	System  string            `json:"system"`
	Go      string            `json:"go"`
	Date    string            `json:"date"`
	Modules map[string]string `json:"modules"`
}

// ThisMachine describes this one, and the modules of interest that are linked in.
func ThisMachine(modules []string) Machine {
	m := Machine{
		CPU:     field("/proc/cpuinfo", "model name"),
		Cores:   runtime.NumCPU(),
		System:  strings.TrimSpace(runtime.GOOS + "/" + runtime.GOARCH + " " + kernel()),
		Go:      runtime.Version(),
		Date:    time.Now().UTC().Format(time.DateOnly),
		Modules: make(map[string]string),
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return m
	}
	for _, d := range info.Deps {
		if !slices.Contains(modules, d.Path) {
			continue
		}
		m.Modules[d.Path] = d.Version
		if d.Replace != nil {
			m.Modules[d.Path] = "this checkout"
		}
	}
	return m
}

// firstLine returns the first line of a file, or nothing.
func firstLine(path string) string {
	text, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// field returns the value of "name : value" in a file, or nothing.
func field(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// kernel is the kernel's version, without what somebody's build adds to it.
func kernel() string {
	version, _, _ := strings.Cut(firstLine("/proc/sys/kernel/osrelease"), "-")
	return version
}
