/** TLS and funnel: who comes by which listener, with which certificate, and as whom. */
import type { Case } from '../case.ts'

const tls = 'plaintext: false, listenAddr: ":443"'
const funnel = `${tls}, funnel: true, prefixes: ["tailnet:/in", "funnel:/out", /both]`
const bypassing = `${tls}, funnel: true, authURL: "http://<auth>", authBypassForTailnet: true, recommendedProxyHeaders: true`
const own = `${tls}, funnel: true, certificateFile: <directory>/cert.pem, keyFile: <directory>/key.pem`

export const exposure: readonly Case[] = [
  {
    id: 'tls-certificate',
    statement: 'Without plaintext a service has the certificate of its node',
    keys: bypassing,
    send: { to: 'https' },
    ours: { status: 200, certificate: 'Pebble Intermediate CA', 'upstream x-forwarded-proto': 'https' },
  },
  {
    id: 'tls-recommended',
    statement: 'X-Scheme says https where a request came by TLS',
    keys: bypassing,
    send: { to: 'https' },
    ours: { 'upstream x-scheme': 'https' },
  },
  {
    id: 'tls-certificate-file',
    statement: 'certificateFile and keyFile are served on the tailnet',
    keys: own,
    send: { to: 'https' },
    ours: { status: 200, certificate: 'Acme Co' },
  },
  {
    id: 'funnel-certificate-file',
    statement: 'certificateFile and keyFile are served to the internet',
    keys: own,
    send: { to: 'funnel' },
    ours: { status: 200, certificate: 'Acme Co' },
    theirs: { status: 200, certificate: 'Pebble Intermediate CA' },
    why: 'the file says what the service is to show',
  },
  {
    id: 'funnel',
    statement: 'X-Forwarded-For of who comes by funnel is the address on the internet',
    keys: funnel,
    send: { to: 'funnel', path: '/both' },
    ours: { status: 200, 'upstream x-forwarded-for': '<internet>', 'upstream x-forwarded-proto': 'https' },
    theirs: { status: 200, 'upstream x-forwarded-for': '<relay>', 'upstream x-forwarded-proto': 'https' },
    why: 'logs and limits of the upstream would know one client only, the relay',
  },
  {
    id: 'funnel-identity',
    statement: 'A client that comes by funnel has no identity',
    keys: funnel,
    send: { to: 'funnel', path: '/both' },
    ours: { 'upstream x-tailscale-*': null },
    theirs: {
      'upstream x-tailscale-*':
        'x-tailscale-caps, x-tailscale-node, x-tailscale-node-caps, x-tailscale-node-name, x-tailscale-user, ' +
        'x-tailscale-user-displayname, x-tailscale-user-loginname, x-tailscale-user-loginname-domain, ' +
        'x-tailscale-user-loginname-localpart, x-tailscale-user-profilepicurl',
    },
    why: 'it is the relay that is identified, and the upstream takes it for the client',
  },
  {
    id: 'funnel-prefixes',
    statement: 'On funnel the prefixes of funnel count',
    keys: funnel,
    send: { to: 'funnel' },
    ours: { '/in': 404, '/out': '/out', '/both': '/both' },
  },
  {
    id: 'funnel-and-tailnet',
    statement: 'A service with funnel is on the tailnet too, where the prefixes of the tailnet count',
    keys: funnel,
    send: { to: 'https' },
    ours: { '/in': '/in', '/out': 404, '/both': '/both' },
  },
  {
    id: 'funnel-only',
    statement: 'A service with funnelOnly is not on the tailnet',
    keys: `${tls}, funnel: true, funnelOnly: true`,
    send: { to: 'https' },
    ours: { status: null },
  },
  {
    id: 'funnel-bypass',
    statement: 'authBypassForTailnet lets nobody by who comes by funnel',
    keys: bypassing,
    send: { to: 'funnel' },
    auth: { status: 401 },
    ours: { status: 401, upstream: null },
    theirs: { status: 200, upstream: '/' },
    why: "the relay is taken for the client, and in the lab it is a user's node: the internet was let in",
  },
]
