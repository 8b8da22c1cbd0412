package collector

import (
	"bytes"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
)

const (
	// softPercent of the limit is where the collector begins to save: whoever comes above the limit all the same is beyond its help.
	softPercent = 90

	// headroomPercent is what the runtime keeps free of a limit of its own.
	headroomPercent = 3
)

// memory is what the runtime has and what of it is in use, in bytes.
type memory struct {
	mapped  uint64 // all that it counts against debug.SetMemoryLimit, untouched buffers included
	free    uint64 // of that: spans without objects
	objects uint64 // of that: objects, garbage included
	live    uint64 // what the last collection found
}

// memoryLimit is the value for debug.SetMemoryLimit that holds the resident set at softPercent of limit. The runtime counts
// what it has mapped, and most of that is no memory: buffers that were never touched. So what is resident decides how much
// more it may map. It never gets less than it needs to collect no more often than while idle, or it would do nothing else
// in a process that has outgrown the limit.
func memoryLimit(limit, resident uint64, m memory, newNodes int) int64 {
	wanted := int64(m.mapped) + int64(limit*softPercent/100) - int64(resident)
	heap := (m.live + garbageBytes) * 100 / (100 - headroomPercent)
	least := int64(m.mapped-m.free-m.objects) + int64(heap)
	return max(wanted, least) + int64(newNodes)*nodeBufferBytes
}

// applyLimit tells the runtime. The caller holds mu.
func (t *tuner) applyLimit() {
	if t.limit == 0 {
		return
	}
	if resident, ok := residentBytes(); ok {
		debug.SetMemoryLimit(memoryLimit(t.limit, resident, readMemory(), t.newNodes))
	}
}

func readMemory() memory {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	value := func(i int) uint64 { return samples[i].Value.Uint64() }
	return memory{mapped: value(0) - value(1), free: value(2), objects: value(3), live: value(4)}
}

// residentBytes is the resident set of this process, as the supervisor sees it.
func residentBytes() (uint64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	return pages * uint64(os.Getpagesize()), err == nil
}
