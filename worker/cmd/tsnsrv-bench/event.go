package main

import "net/netip"

// event is a line without figures: what is ready and where, or what went wrong with a command.
type event struct {
	Event      string       `json:"event"`
	URL        string       `json:"url,omitempty"`
	MetricsURL string       `json:"metricsURL,omitempty"`
	Addresses  []netip.Addr `json:"addresses,omitempty"`
	Message    string       `json:"message,omitempty"`
}
