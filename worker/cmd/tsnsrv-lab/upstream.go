package main

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

//go:embed upstream.html
var upstreamHTML string

var upstreamPage = template.Must(template.New("upstream").Parse(upstreamHTML))

type header struct{ Name, Value string }

// newUpstream is a sample service: a page to look at, and endpoints that exercise a proxy (see probes).
func newUpstream(s sample) http.Handler {
	mux := http.NewServeMux()
	addProbes(mux, s.Name)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		var page bytes.Buffer
		err := upstreamPage.Execute(&page, map[string]any{
			"Sample":  s,
			"Visitor": r.Header.Get("X-Tailscale-User-LoginName"),
			"Remote":  r.RemoteAddr,
			"Headers": sortedHeaders(r),
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("X-Lab-Upstream", s.Name)
		_, _ = w.Write(page.Bytes())
	})
	return mux
}

func sortedHeaders(r *http.Request) []header {
	list := []header{{"Host", r.Host}}
	for name, values := range r.Header {
		list = append(list, header{name, strings.Join(values, ", ")})
	}
	slices.SortFunc(list, func(a, b header) int { return strings.Compare(a.Name, b.Name) })
	return list
}
