package main

import (
	"fmt"
	"slices"
	"strings"
)

// disableVariable names measures to go without, with commas in between, so that the benchmark can tell what each is worth.
const disableVariable = "TSNSRV_WORKER_DISABLE"

const (
	interfaceTable     = "interface-table"     // each node lists the interfaces for itself
	interfaceFilter    = "interface-filter"    // -ignore-interfaces is not heeded
	sharedSubscription = "shared-subscription" // each node listens to the kernel's news of routes and addresses
	oneCore            = "one-core"            // all cores from the start, whatever the load
	coreCount          = "core-count"          // WireGuard starts goroutines for each core of the host
	delayedAck         = "delayed-ack"         // TCP acknowledges at once, by packets of its own
	timerSlack         = "timer-slack"         // the kernel wakes the process for each timer by itself
	gcTuning           = "gc-tuning"           // GOGC stays what the environment says; -gc-percent and -memory-limit are not heeded
)

// measures is a set of them.
type measures []string

func parseMeasures(text string) (measures, error) {
	known := measures{interfaceTable, interfaceFilter, sharedSubscription, oneCore, coreCount, delayedAck, timerSlack, gcTuning}
	list := measures(splitList(text))
	for _, each := range list {
		if !known.has(each) {
			return nil, fmt.Errorf("%s: unknown measure %q; there are %s", disableVariable, each, strings.Join(known, ", "))
		}
	}
	return list, nil
}

func (m measures) has(name string) bool { return slices.Contains(m, name) }
