package main

import (
	"encoding/json"
	"io"
	"runtime"
	"runtime/debug"
)

// buildFacts tell what this binary is made of, for a report of a fault.
type buildFacts struct {
	Version   string `json:"version"`
	Go        string `json:"go"`
	Tailscale string `json:"tailscale"` // empty when it is not known
}

// printBuild writes the facts as one line of JSON.
func printBuild(output io.Writer) error {
	facts := buildFacts{Version: binaryVersion(), Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "tailscale.com" {
				facts.Tailscale = module.Version
			}
		}
	}
	return json.NewEncoder(output).Encode(facts)
}
