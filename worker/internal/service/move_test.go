package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/tailcfg"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/statedir"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// secondSet stands for another worker: it shares nothing with the first but the directories of the services.
func (h *harness) secondSet() *Set {
	h.Helper()
	set := NewSet(Options{
		Keeper: statedir.Keeper{},
		Holder: "w2 1", Interfaces: h.set.options.Interfaces, Metrics: proxy.NewMetrics(), Log: slog.New(slog.DiscardHandler), RequestLog: slog.New(slog.DiscardHandler), AccessLog: slog.New(slog.DiscardHandler),
	})
	h.Cleanup(func() {
		set.Shutdown(0)
		<-set.Done()
	})
	return set
}

// publishBesideSecondSet has a service ready in the first worker, beside another that could take it.
func (h *harness) publishBesideSecondSet() (there *Set, spec protocol.ServiceSpec, before protocol.ServiceStatus) {
	h.Helper()
	there, spec = h.secondSet(), h.spec("photos", h.text("ok"))
	h.put(spec)
	return there, spec, h.awaitPhase("photos", protocol.ServiceStatusPhaseReady)
}

// clicks is a client that asks 50 times a second, on connections that it keeps.
type clicks struct {
	sync.Mutex
	total   int
	failed  []error
	slowest time.Duration
	answers chan struct{} // one for each request that has ended
}

// await waits for so many answers.
func (c *clicks) await(t *testing.T, answers int) {
	t.Helper()
	deadline := time.After(patience)
	for range answers {
		select {
		case <-c.answers:
		case <-deadline:
			t.Fatalf("there were no %d answers within %v", answers, patience)
		}
	}
}

// mostAtOnce is how many requests wait for an answer at most. A machine that cannot keep up would have more and more.
const mostAtOnce = 50

func click(t *testing.T, client visitor, url string) (counted *clicks, stop func()) {
	counted = &clicks{answers: make(chan struct{}, 1<<16)}
	asking, over, waiting := sync.WaitGroup{}, make(chan struct{}), make(chan struct{}, mostAtOnce)
	ask := func() {
		defer func() { <-waiting }()
		began := time.Now()
		response, err := client.Get(url)
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		counted.Lock()
		defer counted.Unlock()
		counted.total++
		counted.slowest = max(counted.slowest, time.Since(began))
		if err != nil {
			counted.failed = append(counted.failed, err)
		}
		counted.answers <- struct{}{}
	}
	asking.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				select {
				case waiting <- struct{}{}:
					asking.Go(ask)
				default:
				}
			case <-over:
				tick.Stop()
				return
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(over)
		asking.Wait()
	})
	t.Cleanup(stop)
	return counted, stop
}

func standingBy(spec protocol.ServiceSpec) protocol.ServiceSpec {
	standby := true
	spec.Standby = &standby
	return spec
}

func TestStandbyStartsWhenTheOtherWorkerLetsGo(t *testing.T) {
	h := newHarness(t, tailnet.Options{}, 0)
	old := h.set
	there, spec, before := h.publishBesideSecondSet()
	h.set = there
	h.put(spec)
	if refused := h.awaitPhase("photos", protocol.ServiceStatusPhaseFailed); refused.Reason != protocol.ServiceStatusReasonStateDirLocked {
		t.Errorf("without standby: %+v", refused)
	}
	again := standingBy(spec)
	retry := true
	again.Retry = &retry
	h.put(again)
	waiting := h.awaitPhase("photos", protocol.ServiceStatusPhaseStandby)
	if waiting.SpecHash != spec.SpecHash {
		t.Errorf("it stands by for %q", waiting.SpecHash)
	}
	h.get(h.visitor(), before)
	old.Delete("photos", patience)
	if after := h.awaitPhase("photos", protocol.ServiceStatusPhaseReady); after.Identity.NodeKey != before.Identity.NodeKey {
		t.Errorf("it was %+v, and is %+v", before, after)
	}
}

func TestStandbyThatIsDeletedTakesNothing(t *testing.T) {
	h := newHarness(t, tailnet.Options{}, 0)
	old := h.set
	there, spec, before := h.publishBesideSecondSet()
	h.set = there
	h.put(standingBy(spec))
	h.awaitPhase("photos", protocol.ServiceStatusPhaseStandby)
	there.Delete("photos", patience)
	h.awaitRemoved("photos")
	h.set = old
	h.get(h.visitor(), before)
	old.Delete("photos", patience)
	h.awaitRemoved("photos")
	free, err := statedir.Open(spec.Exposure.Node.StateDir, "x")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
}

func TestMoveLosesNoRequest(t *testing.T) {
	h := newHarness(t, tailnet.Options{}, 0)
	there, spec, before := h.publishBesideSecondSet()
	client := h.visitor()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 50
	h.get(client, before)
	counted, stop := click(t, client, "http://"+before.Identity.Addresses[0]+"/")
	const moves = 6
	for range moves {
		leaving := h.set
		h.set, there = there, h.set
		h.put(standingBy(spec))
		h.awaitPhase("photos", protocol.ServiceStatusPhaseStandby)
		leaving.Delete("photos", patience)
		after := h.awaitPhase("photos", protocol.ServiceStatusPhaseReady)
		if after.Identity.NodeKey != before.Identity.NodeKey || after.Identity.Addresses[0] != before.Identity.Addresses[0] || after.Identity.UdpPort != before.Identity.UdpPort {
			t.Errorf("it was %+v, and is %+v", before, after)
		}
		// It has to be at home before it moves on: its session with the client is made anew on both sides.
		counted.await(t, 100)
	}
	stop()
	t.Logf("%d requests in %d moves, the slowest %v", counted.total, moves, counted.slowest)
	if len(counted.failed) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(counted.failed), counted.total, counted.failed[0])
	}
	// How long the slowest may take is judged end to end (test/e2e/moveTrial.ts), where it is known whose the machine was.
}

func TestMovedServiceTellsItsClientsItsKeyWhenControlDoesNot(t *testing.T) {
	h := newHarness(t, tailnet.Options{}, 0)
	there, spec, before := h.publishBesideSecondSet()
	client := h.visitor()
	h.get(client, before)
	local, err := client.node.LocalClient()
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr(before.Identity.Addresses[0])
	h.network.Pause()
	h.set.Delete("photos", patience)
	h.awaitRemoved("photos")
	h.set = there
	h.put(spec)
	h.get(client, h.awaitPhase("photos", protocol.ServiceStatusPhaseReady))
	// The key is what the direct way is looked for with.
	for deadline := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		result, err := local.Ping(ctx, address, tailcfg.PingDisco)
		cancel()
		if err == nil && result.Err == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v %+v", err, result)
		}
	}
}

func TestLeavingWaitsUntilTheClientHasAllOfItsAnswer(t *testing.T) {
	h := newHarness(t, tailnet.Options{}, 0)
	const length = 16 << 20 // more than what fits into the buffers of both sides
	h.put(h.spec("photos", h.upstream(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(length))
		_, _ = w.Write(make([]byte, length))
	})))
	status := h.awaitPhase("photos", protocol.ServiceStatusPhaseReady)
	response, err := h.visitor().Get("http://" + status.Identity.Addresses[0] + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	h.set.Delete("photos", patience)
	read := int64(0)
	for err == nil {
		var some int64
		some, err = io.CopyN(io.Discard, response.Body, 64<<10)
		read += some
		time.Sleep(5 * time.Millisecond) // a slow client
	}
	if err != io.EOF || read != length {
		t.Errorf("%d of %d bytes came: %v", read, length, err)
	}
	h.awaitRemoved("photos")
}

func TestLeavingDoesNotWaitForAClientThatIsGone(t *testing.T) {
	h := newHarness(t, tailnet.Options{}, 0)
	h.put(h.spec("photos", h.text("ok")))
	status := h.awaitPhase("photos", protocol.ServiceStatusPhaseReady)
	client := h.visitor()
	h.get(client, status)
	// As when the lid of a laptop is closed: no goodbye from there.
	client.node.Sys().MagicSock.Get().Close()
	h.set.Delete("photos", 100*patience)
	h.awaitRemoved("photos")
}

func TestLeavingServesOnWhileALongRequestEnds(t *testing.T) {
	h := newHarness(t, tailnet.Options{}, 0)
	begun, answer, streaming := make(chan struct{}), make(chan struct{}), make(chan struct{})
	spec := h.spec("photos", h.upstream(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			close(begun)
			<-answer
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: 1\n\n")
			w.(http.Flusher).Flush()
			close(streaming)
			<-r.Context().Done()
		}
	}))
	h.put(spec)
	status := h.awaitPhase("photos", protocol.ServiceStatusPhaseReady)
	client := h.visitor()
	ask := func(path string) <-chan error {
		ended := make(chan error, 1)
		go func() {
			response, err := client.Get("http://" + status.Identity.Addresses[0] + path)
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
			ended <- err
		}()
		return ended
	}
	stream, long := ask("/events"), ask("/long")
	<-begun
	<-streaming
	h.set.Delete("photos", patience)
	for range 3 {
		if err := <-ask("/"); err != nil {
			t.Errorf("while the long request runs: %v", err)
		}
	}
	close(answer)
	if err := <-long; err != nil {
		t.Errorf("the long request: %v", err)
	}
	h.awaitRemoved("photos") // the stream, which would go on for ever, does not keep it
	if err := <-stream; err == nil {
		t.Error("the stream ended as if it were complete")
	}
}

// footprint is what a process would lose by leaking.
type footprint struct {
	goroutines, files int
	heapBytes         uint64
}

func takeFootprint(t *testing.T) footprint {
	t.Helper()
	runtime.GC()
	runtime.GC() // what has a finalizer goes with the second
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return footprint{goroutines: runtime.NumGoroutine(), files: len(files), heapBytes: memory.HeapAlloc}
}

// settledFootprint waits for what a node leaves behind to end: until nothing has become less for a second.
func settledFootprint(t *testing.T) footprint {
	t.Helper()
	least, still := takeFootprint(t), 0
	for deadline := time.Now().Add(patience); still < 10; still++ {
		if time.Now().After(deadline) {
			t.Fatalf("it becomes less and less: %+v", least)
		}
		time.Sleep(100 * time.Millisecond)
		if now := takeFootprint(t); now.goroutines < least.goroutines || now.files < least.files {
			least, still = now, 0
		}
	}
	return least
}

// What is compared is taken when the tailnet is gone, too. Memory is measured by that of a worker with the service.
func TestHundredMovesLeakNothing(t *testing.T) {
	var serving footprint
	move := func(times int) {
		t.Run(fmt.Sprintf("%d moves", times), func(t *testing.T) {
			h := newHarness(t, tailnet.Options{}, 0)
			there, spec := h.secondSet(), h.spec("photos", h.text("ok"))
			for range times {
				h.put(spec)
				h.awaitPhase("photos", protocol.ServiceStatusPhaseReady)
				serving = takeFootprint(t)
				h.set.Delete("photos", patience)
				h.awaitRemoved("photos")
				h.set, there = there, h.set
			}
		})
	}
	move(20) // pools and caches fill
	before := settledFootprint(t)
	move(100)
	leaks := func(after footprint) bool {
		return after.goroutines > before.goroutines || after.files > before.files ||
			after.heapBytes > before.heapBytes+serving.heapBytes*5/100
	}
	// The relay forgets a connection up to 10 s after its end.
	after := takeFootprint(t)
	for deadline := time.Now().Add(patience); leaks(after) && time.Now().Before(deadline); after = takeFootprint(t) {
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("serving %+v; before %+v, after %+v", serving, before, after)
	if leaks(after) {
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		t.Errorf("a hundred moves leave something behind; the goroutines are\n%s", &stacks)
	}
}
