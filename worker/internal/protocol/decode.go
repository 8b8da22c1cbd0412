// Package protocol holds the shapes of the worker protocol. protocol.gen.go is generated from shared/protocol.ts; this
// file adds what a JSON Schema turned into Go cannot hold.
package protocol

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Version is PROTOCOL_VERSION of shared/protocol.ts.
const Version = 5

// Decode reads one JSON value of shape T and refuses what zod refuses on the other side: besides the generated checks, a
// null in the place of any field, and (for a ServiceSpec) what Validate refuses. Unknown fields are ignored.
func Decode[T any](data []byte) (T, error) {
	var value, zero T
	var raw any
	if err := json.Unmarshal(data, &raw); err != nil {
		return zero, err
	}
	if err := refuseNull(raw, reflect.TypeFor[T](), "the body"); err != nil {
		return zero, err
	}
	if err := json.Unmarshal(data, &value); err != nil {
		return zero, err
	}
	if spec, ok := any(&value).(*ServiceSpec); ok {
		if err := spec.Validate(); err != nil {
			return zero, err
		}
	}
	return value, nil
}

// refuseNull reports the first null where the shape has a field. encoding/json would take it for "absent" and leave the
// zero value, which for a required field is a setting that nobody made.
func refuseNull(value any, shape reflect.Type, where string) error {
	if value == nil {
		return fmt.Errorf("%s: must not be null", where)
	}
	if shape.Kind() == reflect.Pointer {
		shape = shape.Elem()
	}
	switch value := value.(type) {
	case []any:
		if shape.Kind() != reflect.Slice {
			return nil // the wrong type; json.Unmarshal says so
		}
		for i, element := range value {
			if err := refuseNull(element, shape.Elem(), fmt.Sprintf("%s[%d]", where, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, element := range value {
			inner, known := fieldShape(shape, key)
			if !known {
				continue
			}
			if err := refuseNull(element, inner, "field "+key); err != nil {
				return err
			}
		}
	}
	return nil
}

// fieldShape finds the type behind a JSON key: a struct field by its tag, or the element of a map.
func fieldShape(shape reflect.Type, key string) (reflect.Type, bool) {
	switch shape.Kind() {
	case reflect.Map:
		return shape.Elem(), true
	case reflect.Struct:
		for i := range shape.NumField() {
			name, _, _ := strings.Cut(shape.Field(i).Tag.Get("json"), ",")
			if name == key {
				return shape.Field(i).Type, true
			}
		}
	}
	return nil, false
}

// Validate checks the rules between fields of a spec, and the formats that JSON Schema leaves open.
func (s *ServiceSpec) Validate() error {
	if !filepath.IsAbs(s.Exposure.Node.StateDir) {
		return fmt.Errorf("field stateDir: want an absolute path, got %q", s.Exposure.Node.StateDir)
	}
	if s.Exposure.Node.ControlURL != "" {
		if control, err := url.Parse(s.Exposure.Node.ControlURL); err != nil || control.Host == "" {
			return fmt.Errorf("field controlURL: want a URL or nothing, got %q", s.Exposure.Node.ControlURL)
		}
	}
	if s.Proxy != nil {
		if err := s.Proxy.validate(); err != nil {
			return err
		}
	}
	taken := map[string]bool{}
	for _, listen := range s.Listeners {
		if err := listen.validate(s.Proxy != nil); err != nil {
			return err
		}
		place := listen.Address
		if listen.Scheme == ListenSpecSchemeFunnel {
			place = "funnel" + place // beside a listener on the tailnet
		}
		if taken[place] {
			return fmt.Errorf("field listeners: %q is there twice", listen.Address)
		}
		taken[place] = true
	}
	return nil
}

// httpItself matches the protocols in which further requests can be sent, as UpgradeToken of shared/config.ts does.
var httpItself = regexp.MustCompile(`(?i)^(h\d|https?(/|$)|spdy|tls(/|$))`)

func (p *ProxySpec) validate() error {
	upstream, err := url.Parse(p.Upstream)
	if err != nil {
		return fmt.Errorf("field upstream: %w", err)
	}
	if !slices.Contains([]string{"http", "https", "h2c"}, upstream.Scheme) || upstream.Host == "" {
		return fmt.Errorf("field upstream: want http://host, https://host or h2c://host, got %q", p.Upstream)
	}
	for _, name := range p.Upgrades {
		if httpItself.MatchString(name) {
			return fmt.Errorf("field upgrades: %q would let clients speak with the upstream past every rule", name)
		}
	}
	if p.DialAddress != "" && p.DialUnixPath != "" {
		return fmt.Errorf("fields dialAddress and dialUnixPath: only one can be dialled")
	}
	if p.DialAddress != "" {
		return validateTarget(p.DialAddress)
	}
	return nil
}

func (l *ListenSpec) validate(hasProxy bool) error {
	_, port, _ := strings.Cut(l.Address, ":")
	if number, err := strconv.Atoi(port); err != nil || number > 65535 {
		return fmt.Errorf("field address: %q has no valid port", l.Address)
	}
	if l.Scheme == ListenSpecSchemeTcp {
		return validateTarget(l.DialAddress)
	}
	if !hasProxy {
		return fmt.Errorf("field listeners: %q speaks %s, and there is no proxy", l.Address, l.Scheme)
	}
	if (l.CertificateFile == "") != (l.KeyFile == "") {
		return fmt.Errorf("fields certificateFile and keyFile: want both or neither")
	}
	return nil
}

func validateTarget(address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("field dialAddress: want host:port: %w", err)
	}
	return nil
}
