package main

import (
	"slices"
	"strings"
	"testing"
)

func TestParseMeasures(t *testing.T) {
	for text, want := range map[string]measures{
		"":                              nil,
		"gc-tuning":                     {gcTuning},
		"interface-table, gc-tuning":    {interfaceTable, gcTuning},
		"interface-filter,,gc-tuning, ": {interfaceFilter, gcTuning},
	} {
		if got, err := parseMeasures(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := parseMeasures("gc-tuning,gc"); err == nil || !strings.Contains(err.Error(), `"gc"`) {
		t.Errorf("a misspelt measure: %v", err)
	}
}
