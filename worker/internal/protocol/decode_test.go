package protocol

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// decoders are the shapes that shared/fixtures/protocol names.
var decoders = map[string]func([]byte) error{
	"Hello":         decodeAs[Hello],
	"WorkerState":   decodeAs[WorkerState],
	"WorkerEvent":   decodeAs[WorkerEvent],
	"ServiceSpec":   decodeAs[ServiceSpec],
	"ServiceStatus": decodeAs[ServiceStatus],
	"ErrorReply":    decodeAs[ErrorReply],
}

func decodeAs[T any](data []byte) error {
	_, err := Decode[T](data)
	return err
}

const fixtures = "../../../shared/fixtures/protocol"

// fixture is a value, and what it is one of.
type fixture struct {
	Shape string
	Value json.RawMessage
}

func readFixture[T any](t *testing.T, file string) (read T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(fixtures, file))
	if err == nil {
		err = json.Unmarshal(text, &read)
	}
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func (f fixture) decode(t *testing.T) error {
	t.Helper()
	decode, known := decoders[f.Shape]
	if !known {
		t.Fatalf("fixture has shape %q, which the protocol has not", f.Shape)
	}
	return decode(f.Value)
}

// The fixtures are the contract: the TypeScript side accepts and refuses the same values.
func TestContractFixtures(t *testing.T) {
	files, err := os.ReadDir(filepath.Join(fixtures, "accept"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		if err := readFixture[fixture](t, "accept/"+file.Name()).decode(t); err != nil {
			t.Errorf("%s: %v", file.Name(), err)
		}
	}
	// Each is one change of a value that is accepted: nothing else can be the reason.
	for _, refused := range readFixture[[]struct {
		Name, Base, At string
		Value          any
	}](t, "refuse.json") {
		changed := readFixture[fixture](t, "accept/"+refused.Base+".json")
		var value any
		if err := json.Unmarshal(changed.Value, &value); err != nil {
			t.Fatal(err)
		}
		change(value, strings.Split(refused.At, "/")[1:], refused.Value)
		if changed.Value, err = json.Marshal(value); err != nil {
			t.Fatal(err)
		}
		if changed.decode(t) == nil {
			t.Errorf("%s is accepted", refused.Name)
		}
	}
}

// change sets what path leads to; nil removes it.
func change(within any, path []string, value any) {
	switch holder := within.(type) {
	case []any:
		at, _ := strconv.Atoi(path[0])
		if len(path) == 1 {
			holder[at] = value
			return
		}
		change(holder[at], path[1:], value)
	case map[string]any:
		switch {
		case len(path) > 1:
			change(holder[path[0]], path[1:], value)
		case value == nil:
			delete(holder, path[0])
		default:
			holder[path[0]] = value
		}
	}
}

const (
	validListener = `{"address":":80","scheme":"http","certificateFile":"","keyFile":"","readHeaderTimeoutMs":0,"maxHeaderBytes":0,"idleTimeoutMs":0,
"dialAddress":"","useTailnetDialer":false,"dialTimeoutMs":0,"proxyProtocol":false}`
	validSpec = `{"name":"web","specHash":"h","exposure":{"kind":"node","node":{"stateDir":"/s/web","hostname":"web","controlURL":"","ephemeral":false,
"connectTimeoutMs":1000,"verbose":false,"tags":[],"clientID":"","audience":""}},"listeners":[` + validListener + `],
"proxy":{"upstream":"http://127.0.0.1:8080","dialAddress":"","dialUnixPath":"","useTailnetDialer":false,"insecureHTTPS":false,
"allowInsecureCiphers":false,"caFile":"","dialTimeoutMs":0,"tlsTimeoutMs":0,"responseHeaderTimeoutMs":0,"upstreamIdleTimeoutMs":0,
"bodyReadTimeoutMs":0,"maxRequestBodyBytes":0,"hostnames":[],"upgrades":[],"removeUpstreamHeaders":[],"responseHeaders":{},"removeResponseHeaders":[],
"prefixes":[],"stripPrefix":false,"allow":[],"recommendedProxyHeaders":true,"upstreamHeaders":{"X-A":"b"},"whois":true,
"whoisTimeoutMs":1000},"limits":{"maxConnections":0,"maxConnectionsPerClient":0,"maxRequests":0,
"maxRequestsPerClient":0,"rateLimit":0,"funnelRateLimit":0,"sendTimeoutMs":0},"tcpAllow":[]}`
)

func TestDecodeServiceSpec(t *testing.T) {
	if _, err := Decode[ServiceSpec]([]byte(validSpec)); err != nil {
		t.Fatalf("valid spec refused: %v", err)
	}
	if _, err := Decode[ServiceSpec]([]byte(strings.Replace(validSpec, "http://127.0.0.1:8080", "h2c://127.0.0.1:8080", 1))); err != nil {
		t.Errorf("an upstream that takes HTTP/2 without TLS: %v", err)
	}
	for what, change := range map[string][2]string{
		"null":                     {validSpec, `null`},
		"null node":                {`"controlURL":""`, `"controlURL":null`},
		"null in a map":            {`"X-A":"b"`, `"X-A":null`},
		"null optional":            {`"specHash":"h"`, `"specHash":"h","authKey":null`},
		"null listeners":           {"[" + validListener + "]", `null`},
		"null listener":            {`[{"address"`, `[null,{"address"`},
		"no listeners":             {"[" + validListener + "]", `[]`},
		"ftp upstream":             {`http://127.0.0.1:8080`, `ftp://x`},
		"upstream without a host":  {`http://127.0.0.1:8080`, `http:/x`},
		"two places to dial":       {`"dialAddress":"","dialUnixPath":""`, `"dialAddress":"a:1","dialUnixPath":"/s"`},
		"port out of range":        {`":80"`, `":99999"`},
		"relative state directory": {`"/s/web"`, `"s/web"`},
		"upper-case name":          {`"name":"web"`, `"name":"Web"`},
		"the same listener twice":  {`"listeners":[`, `"listeners":[` + validListener + ","},
		"http without a proxy":     {"],\n\"proxy\":{", "],\n\"ignored\":{"},
		"tcp without a target":     {`"scheme":"http"`, `"scheme":"tcp"`},
		"an upgrade to h2c":        {`"upgrades":[]`, `"upgrades":["h2c"]`},
		"an upgrade to HTTP/2.0":   {`"upgrades":[]`, `"upgrades":["websocket","HTTP/2.0"]`},
		"an upgrade to TLS":        {`"upgrades":[]`, `"upgrades":["tls/1.0"]`},
		"half a certificate":       {`"certificateFile":""`, `"certificateFile":"/c"`},
		"bytes after the value": {`"whoisTimeoutMs":1000},"limits":{"maxConnections":0,"maxConnectionsPerClient":0,"maxRequests":0,
"maxRequestsPerClient":0,"rateLimit":0,"funnelRateLimit":0,"sendTimeoutMs":0},"tcpAllow":[]}`, `"whoisTimeoutMs":1000}}{}`},
	} {
		changed := strings.Replace(validSpec, change[0], change[1], 1)
		if changed == validSpec {
			t.Errorf("%s: nothing was changed", what)
		}
		if _, err := Decode[ServiceSpec]([]byte(changed)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}
