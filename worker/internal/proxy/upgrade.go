package proxy

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// websocketProtocol is the protocol whose handshake the proxy checks on both sides.
const websocketProtocol = "websocket"

// ignoreUpgrades lets a request ask for another protocol only if that is one of allowed, in lower case. What is said after an
// upgrade passes no rule: with h2c it would be further requests, with any path and header. Every other request goes on as one
// that asks for nothing, as RFC 9110 section 7.8 has it.
func ignoreUpgrades(allowed []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		delete(r.Header, "Http2-Settings")
		if _, asks := r.Header["Upgrade"]; asks && !isUpgrade(r, allowed) {
			delete(r.Header, "Upgrade") // Connection goes later, with all that it names
		}
		next.ServeHTTP(w, r)
	})
}

func isUpgrade(r *http.Request, allowed []string) bool {
	asked := r.Header["Upgrade"]
	if !r.ProtoAtLeast(1, 1) || r.ProtoMajor != 1 || len(asked) != 1 || !hasUpgradeOption(r.Header) {
		return false
	}
	protocol := strings.ToLower(asked[0])
	return slices.Contains(allowed, protocol) && (protocol != websocketProtocol || isWebSocketHandshake(r))
}

func hasUpgradeOption(header http.Header) bool {
	return httpguts.HeaderValuesContainsToken(header["Connection"], "upgrade")
}

// isWebSocketHandshake tells whether the request is one by RFC 6455 section 4.1.
func isWebSocketHandshake(r *http.Request) bool {
	version, key := r.Header["Sec-Websocket-Version"], r.Header["Sec-Websocket-Key"]
	if r.Method != http.MethodGet || r.ContentLength != 0 || !slices.Equal(version, []string{"13"}) || len(key) != 1 ||
		httpguts.HeaderValuesContainsToken(r.Header["Connection"], "Sec-Websocket-Key") {
		return false
	}
	nonce, err := base64.StdEncoding.Strict().DecodeString(key[0])
	return err == nil && len(nonce) == 16
}

// checkUpgrade says why a response that switches protocols is not the one that its request asked for.
func checkUpgrade(response *http.Response) error {
	asked, granted := response.Request.Header.Get("Upgrade"), response.Header["Upgrade"]
	switch {
	case asked == "":
		return errors.New("it switches protocols (101), which it was not asked to do")
	case !hasUpgradeOption(response.Header) || len(granted) != 1 || !strings.EqualFold(granted[0], asked):
		return errors.New("it switches to another protocol than " + asked)
	case strings.EqualFold(asked, websocketProtocol) &&
		!slices.Equal(response.Header["Sec-Websocket-Accept"], []string{acceptOf(response.Request.Header.Get("Sec-Websocket-Key"))}):
		return errors.New("its Sec-WebSocket-Accept does not fit the key that it was sent")
	}
	return nil
}

// acceptOf is what a server that knows WebSockets answers to a key.
func acceptOf(key string) string {
	hash := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(hash[:])
}
