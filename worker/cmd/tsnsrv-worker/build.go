package main

import (
	"encoding/json"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/graft"
)

// buildFacts tell what this binary is made of, for a report of a fault.
type buildFacts struct {
	Version   string `json:"version"`
	Go        string `json:"go"`
	Tailscale string `json:"tailscale"` // empty when it is not known

	// What of tailscale's insides the worker reaches for, and does not find in this version; with what is lost.
	Missing []string `json:"missing"`
}

// printBuild writes the facts as one line of JSON.
func printBuild(output io.Writer) error {
	facts := buildFacts{Version: binaryVersion(), Go: runtime.Version(), Missing: []string{}}
	for _, missing := range graft.Missing() {
		facts.Missing = append(facts.Missing, missing.String())
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "tailscale.com" {
				facts.Tailscale = module.Version
			}
		}
	}
	return json.NewEncoder(output).Encode(facts)
}
