/** What a request carries when it reaches the upstream, and a response when it reaches the client. */
import type { Case } from '../case.ts'

const claims = {
  Forwarded: 'for=6.6.6.6',
  'X-Forwarded-For': '6.6.6.6',
  'X-Forwarded-Host': 'evil.example',
  'X-Forwarded-Proto': 'https',
}

const recommended = 'recommendedProxyHeaders: yes'
const unidentified = 'suppressWhois: true, upstreamHeaders: { X-Tailscale-User: root }'
const setting =
  'upstreamHeaders: { X-Flag: mine, x-other: too, Host: other.example, X-Forwarded-Proto: https, ' +
  'X-Hex: 0x10, X-Octal: 010, X-Version: 1.50, X-True: true, X-Word: yes, X-Date: 2026-01-02, X-Null: ~ }'

export const headers: readonly Case[] = [
  {
    id: 'forwarded-is-what-is-known',
    statement:
      'X-Forwarded-For is the peer alone, -Host the Host of the request, -Proto whether it came by TLS, and Forwarded is dropped',
    send: { headers: claims },
    ours: {
      'upstream x-forwarded-for': '<peer>',
      'upstream x-forwarded-host': '<service>',
      'upstream x-forwarded-proto': 'http',
      'upstream forwarded': null,
    },
  },
  {
    id: 'forwarded-other-claims',
    statement: 'Other headers by which proxies tell of the client are taken off the request of a client',
    send: {
      headers: {
        'X-Real-Ip': '6.6.6.6',
        'X-Scheme': 'https',
        'X-Forwarded-Port': '1',
        'X-Forwarded-Prefix': '/evil',
        'X-Original-Url': '/evil',
        'X-Rewrite-Url': '/evil',
      },
    },
    ours: {
      'upstream x-real-ip': null,
      'upstream x-scheme': null,
      'upstream x-forwarded-port': null,
      'upstream x-forwarded-prefix': null,
      'upstream x-original-url': null,
      'upstream x-rewrite-url': null,
    },
    theirs: {
      'upstream x-real-ip': '6.6.6.6',
      'upstream x-scheme': 'https',
      'upstream x-forwarded-port': '1',
      'upstream x-forwarded-prefix': '/evil',
      'upstream x-original-url': '/evil',
      'upstream x-rewrite-url': '/evil',
    },
    why: 'upstreams believe them, and some read the path from them',
  },
  {
    id: 'recommended-default',
    statement: 'Without recommendedProxyHeaders Host is that of upstream, and none of the headers is set',
    ours: {
      'upstream host': '<upstream>',
      'upstream x-scheme': null,
      'upstream x-real-ip': null,
      'upstream x-forwarded-server': null,
      'upstream x-forwarded-port': null,
    },
  },
  {
    id: 'recommended',
    statement: 'recommendedProxyHeaders keeps Host and sets X-Scheme, X-Real-Ip and X-Forwarded-Server',
    keys: recommended,
    send: { headers: { 'X-Real-Ip': '6.6.6.6', 'X-Scheme': 'https' } },
    ours: {
      'upstream host': '<service>',
      'upstream x-scheme': 'http',
      'upstream x-real-ip': '<peer>',
      'upstream x-forwarded-server': '<service>',
      'upstream x-forwarded-port': null,
    },
  },
  {
    id: 'recommended-port',
    statement: 'X-Forwarded-Port is set when Host has a port, which X-Forwarded-Server has not',
    keys: recommended,
    send: { headers: { host: '<service>:80' } },
    ours: {
      'upstream host': '<service>:80',
      'upstream x-forwarded-server': '<service>',
      'upstream x-forwarded-port': '80',
    },
  },
  {
    id: 'recommended-yes',
    statement: 'recommendedProxyHeaders: yes switches them on',
    keys: recommended,
    ours: { 'upstream host': '<service>' },
  },
  {
    id: 'upstream-headers',
    statement: 'upstreamHeaders replace what the client sent, and names are taken in any case',
    keys: setting,
    send: { headers: { 'X-Flag': 'yours' } },
    ours: { 'upstream x-flag': 'mine', 'upstream x-other': 'too' },
  },
  {
    id: 'upstream-headers-scalars',
    statement: 'Values that YAML reads as numbers, booleans, dates or nothing stand there as they were written',
    keys: setting,
    ours: {
      'upstream x-hex': '0x10',
      'upstream x-octal': '010',
      'upstream x-version': '1.50',
      'upstream x-true': 'true',
      'upstream x-word': 'yes',
      'upstream x-date': '2026-01-02',
      'upstream x-null': '',
    },
  },
  {
    id: 'upstream-headers-host',
    statement: 'Host under upstreamHeaders has no effect',
    keys: setting,
    ours: { 'upstream host': '<upstream>' },
  },
  {
    id: 'upstream-headers-last',
    statement: 'upstreamHeaders win over X-Forwarded-*',
    keys: setting,
    ours: { 'upstream x-forwarded-proto': 'https' },
  },
  {
    id: 'upstream-headers-identity',
    statement: 'upstreamHeaders cannot set an identity',
    keys: unidentified,
    ours: { 'upstream x-tailscale-*': null },
  },
  {
    id: 'identity',
    statement: 'X-Tailscale-* tell who the client is, user and node by the ids that Tailscale writes',
    ours: {
      'upstream x-tailscale-*':
        'x-tailscale-caps, x-tailscale-node, x-tailscale-node-caps, x-tailscale-node-name, x-tailscale-user, ' +
        'x-tailscale-user-displayname, x-tailscale-user-loginname, x-tailscale-user-loginname-domain, ' +
        'x-tailscale-user-loginname-localpart, x-tailscale-user-profilepicurl',
      'upstream x-tailscale-user': 'userid:123',
      'upstream x-tailscale-user-loginname': 'user-123@fake-control.example.net',
      'upstream x-tailscale-user-loginname-localpart': 'user-123',
      'upstream x-tailscale-user-loginname-domain': 'fake-control.example.net',
      'upstream x-tailscale-user-displayname': 'User 123',
      'upstream x-tailscale-node': 'nodeid:1',
      'upstream x-tailscale-node-name': 'lab-gateway',
    },
  },
  {
    id: 'identity-claimed',
    statement: 'What a client says under X-Tailscale-* is dropped',
    send: { headers: { 'X-Tailscale-User': 'root', 'X-Tailscale-Role': 'admin' } },
    ours: { 'upstream x-tailscale-user': 'userid:123', 'upstream x-tailscale-role': null },
  },
  {
    id: 'identity-claimed-by-underscores',
    statement: 'X_Tailscale_User is dropped, too',
    send: { headers: { X_Tailscale_User: 'root', 'X-Tailscale_User': 'root' } },
    ours: { 'upstream x_tailscale_user': null, 'upstream x-tailscale_user': null },
    theirs: { 'upstream x_tailscale_user': 'root', 'upstream x-tailscale_user': 'root' },
    why: 'behind CGI and its heirs it is the same header',
  },
  {
    id: 'identity-of-serve',
    statement: 'What a client says under Tailscale-*, the headers of "tailscale serve", is dropped',
    send: { headers: { 'Tailscale-User-Login': 'root@example.com' } },
    ours: { 'upstream tailscale-user-login': null },
    theirs: { 'upstream tailscale-user-login': 'root@example.com' },
    why: 'upstreams that stood behind it believe them',
  },
  {
    id: 'identity-by-other-headers',
    statement:
      'Headers by which auth servers and proxies tell upstreams of a user are dropped, unless the auth server has set them',
    send: { headers: { 'Remote-User': 'anna', 'X-Webauth-User': 'anna', 'X-Auth-Request-Email': 'a@b' } },
    ours: { 'upstream remote-user': null, 'upstream x-webauth-user': null, 'upstream x-auth-request-email': null },
    theirs: { 'upstream remote-user': 'anna', 'upstream x-webauth-user': 'anna', 'upstream x-auth-request-email': 'a@b' },
    why: 'an upstream that was set up for them believes whoever sends them',
  },
  {
    id: 'identity-suppressed',
    statement: 'suppressWhois sends no identity, and drops what a client says all the same',
    keys: unidentified,
    send: { headers: { 'X-Tailscale-User': 'root' } },
    ours: { 'upstream x-tailscale-*': null },
  },
  {
    id: 'hop-by-hop',
    statement: 'Headers of the connection, and those that Connection names, go no further',
    send: { headers: { Connection: 'X-Secret', 'X-Secret': 'a', 'Proxy-Authorization': 'b', 'X-Other': 'c' } },
    ours: { 'upstream x-secret': null, 'upstream proxy-authorization': null, 'upstream x-other': 'c' },
  },
  {
    id: 'hop-by-hop-forwarded',
    statement: 'A client cannot have X-Forwarded-For taken off by naming it in Connection',
    send: { headers: { Connection: 'X-Forwarded-For, X-Tailscale-User' } },
    ours: { 'upstream x-forwarded-for': '<peer>', 'upstream x-tailscale-user': 'userid:123' },
  },
  {
    id: 'credentials-pass',
    statement: 'Cookie, Authorization and User-Agent pass as they are',
    send: { headers: { Cookie: 'a=b; c=d', Authorization: 'Bearer x', 'User-Agent': 'test' } },
    ours: { 'upstream cookie': 'a=b; c=d', 'upstream authorization': 'Bearer x', 'upstream user-agent': 'test' },
  },
  {
    id: 'user-agent-absent',
    statement: 'No User-Agent is made up',
    ours: { 'upstream user-agent': null },
  },
  {
    id: 'compression',
    statement: 'A client that takes no compression gets none, and the upstream is not asked for any',
    ours: { 'upstream accept-encoding': null },
    theirs: { 'upstream accept-encoding': 'gzip' },
    why: 'what is packed there is unpacked here, at the cost of both',
  },
  {
    id: 'request-id',
    statement: 'Each request has an id, for which logs can be searched',
    ours: { 'upstream x-request-id': '<id>' },
    theirs: { 'upstream x-request-id': null },
    why: 'an answer of ours quotes it, too',
  },
  {
    id: 'method-and-body',
    statement: 'Method, query and body pass',
    send: { method: 'POST', path: '/form?a=b&c=%20', body: 'x=y' },
    ours: { upstream: '/form?a=b&c=%20', 'upstream method': 'POST', 'upstream body': 'x=y' },
  },
  {
    id: 'query-odd',
    statement: 'A query that Go cannot parse passes as it is',
    send: { path: '/?a=1;b=2&c=%zz' },
    ours: { upstream: '/?a=1;b=2&c=%zz' },
    theirs: { upstream: '/' },
    why: 'it is for the upstream to read',
  },
  {
    id: 'response-headers',
    statement: 'Status, headers and cookies of the upstream pass',
    upstream: { status: 418, headers: { Server: 'tea', 'Set-Cookie': ['a=b', 'c=d'] }, body: 'short' },
    ours: { status: 418, 'client server': 'tea', 'client set-cookie': 'a=b, c=d', body: 'short' },
  },
  {
    id: 'response-redirect',
    statement: 'A redirect of the upstream goes to the client as it is',
    upstream: { status: 302, headers: { Location: 'http://<upstream>/login' } },
    ours: { status: 302, 'client location': 'http://<upstream>/login', upstream: '/' },
  },
  {
    id: 'host-of-another',
    statement: "A request for a name that is not the service's is answered 421, and reaches nobody",
    send: { headers: { host: 'evil.example' } },
    ours: { status: 421, upstream: null },
    theirs: { status: 200, upstream: '/' },
    why: 'a page of somebody else could point its name at the node, and be the visitor (DNS rebinding)',
  },
  {
    id: 'host-that-is-listed',
    statement: "Names in hostnames are the service's too",
    keys: 'hostnames: [photos.example, "*.apps.example"], recommendedProxyHeaders: true',
    send: { headers: { host: 'one.apps.example' } },
    ours: { status: 200, 'upstream host': 'one.apps.example' },
  },
  {
    id: 'upgrade-to-http2',
    statement: 'Upgrade: h2c does not reach the upstream',
    send: { headers: { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'HTTP2-Settings': 'AAMAAABkAARAAAAAAAIAAAAA' } },
    ours: { status: 200, 'upstream upgrade': null, 'upstream connection': null },
    theirs: { status: 200, 'upstream upgrade': 'h2c', 'upstream connection': 'Upgrade' },
    why: 'with an upstream that takes it, the client would speak with it past every rule',
  },
  {
    id: 'set-header-spelled-otherwise',
    statement: 'A client cannot send a header of upstreamHeaders in another spelling beside it',
    keys: 'upstreamHeaders: { X-Role: viewer }',
    send: { headers: { X_Role: 'admin' } },
    ours: { 'upstream x-role': 'viewer', 'upstream x_role': null },
    theirs: { 'upstream x-role': 'viewer', 'upstream x_role': 'admin' },
    why: 'to an upstream behind CGI or WSGI both are HTTP_X_ROLE',
  },
]
