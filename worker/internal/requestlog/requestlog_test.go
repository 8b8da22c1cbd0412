package requestlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// output is what a logger wrote and nobody has read. Summaries are written by timers.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// lines are what a logger wrote, decoded.
func lines(t *testing.T, output *output) (all []map[string]any) {
	t.Helper()
	output.mu.Lock()
	defer output.mu.Unlock()
	decoder := json.NewDecoder(&output.text)
	for decoder.More() {
		var line map[string]any
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		all = append(all, line)
	}
	return all
}

func TestRepeatsAreSummarised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var output output
		log := slog.New(New(slog.NewJSONHandler(&output, nil))).With("service", "web")
		for i := range 1200 {
			log.Warn("a request was denied", "peer", fmt.Sprintf("100.64.0.9:%d", i), "path", fmt.Sprintf("/%d", i))
		}
		log.Warn("a request was denied", "peer", "100.64.0.7:1", "path", "/evidence")
		written := lines(t, &output)
		if len(written) != mostOfKey+1 || written[mostOfKey]["path"] != "/evidence" {
			t.Fatalf("%d lines: %v", len(written), written)
		}
		time.Sleep(window)
		synctest.Wait()
		summary := lines(t, &output)
		if len(summary) != 1 || summary[0]["more"] != float64(1200-mostOfKey) || summary[0]["path"] != "/1199" || summary[0]["service"] != "web" {
			t.Errorf("summary %v", summary)
		}
		log.Warn("a request was denied", "peer", "100.64.0.9:1", "path", "/later")
		if later := lines(t, &output); len(later) != 1 {
			t.Errorf("in the next minute: %v", later)
		}
	})
}

// From however many addresses the lines come, they are few, and none is lost from the counts.
func TestManyClientsFillNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var output output
		log := slog.New(New(slog.NewJSONHandler(&output, nil)))
		const clients = 5 * mostKeys
		for i := range clients {
			log.Warn("denied", "peer", fmt.Sprintf("192.0.%d.%d:1", i>>8, i&255))
		}
		written := len(lines(t, &output))
		time.Sleep(window)
		synctest.Wait()
		summaries := lines(t, &output)
		counted := float64(written)
		for _, line := range summaries {
			counted += line["more"].(float64)
		}
		if written > mostInAll || len(summaries) > mostAtEnd || counted != clients {
			t.Errorf("%d lines, %d summaries, %v counted", written, len(summaries), counted)
		}
	})
}

// A flood at one service leaves the lines of another alone.
func TestServicesCountApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var output output
		root := slog.New(New(slog.NewJSONHandler(&output, nil)))
		flooded, quiet := root.With("service", "flooded"), root.With("service", "quiet")
		for i := range 1000 {
			flooded.Warn("denied", "peer", fmt.Sprintf("192.0.2.%d:1", i&255))
		}
		lines(t, &output)
		quiet.Warn("denied", "peer", "192.0.2.1:1")
		if written := lines(t, &output); len(written) != 1 || written[0]["service"] != "quiet" {
			t.Errorf("%v", written)
		}
		time.Sleep(window)
		synctest.Wait()
	})
}
