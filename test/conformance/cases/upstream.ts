/** How the upstream is reached, and what the client gets when it is not. */
import type { Case } from '../case.ts'

const based = 'upstream: "http://anna:secret@<upstream>/base?k=v"'
const refusal = '502 Bad Gateway: the service behind <name> did not answer (request <id>)'

export const upstream: readonly Case[] = [
  {
    id: 'upstream-path',
    statement: 'The path of upstream is put before that of the request',
    keys: based,
    ours: { '/': '/base/?k=v', '/x': '/base/x?k=v', '/x/': '/base/x/?k=v' },
  },
  {
    id: 'upstream-query',
    statement: 'The query of upstream is put before that of the request',
    keys: based,
    ours: { '/x': '/base/x?k=v', '/x?q=1': '/base/x?k=v&q=1' },
  },
  {
    id: 'upstream-credentials',
    statement: 'User and password of upstream are not sent',
    keys: based,
    ours: { status: 200, 'upstream authorization': null },
  },
  {
    id: 'upstream-tcp-addr',
    statement: 'upstreamTCPAddr is dialled in place of the host of upstream, which stays in Host',
    keys: 'upstream: "http://app.example:1", upstreamTCPAddr: <upstream>',
    ours: { status: 200, 'upstream host': 'app.example:1' },
  },
  {
    id: 'upstream-unix-addr',
    statement: 'upstreamUnixAddr is dialled in place of the host of upstream, which stays in Host',
    keys: 'upstream: "http://app.example", upstreamUnixAddr: <socket>',
    ours: { status: 200, 'upstream host': 'app.example' },
  },
  {
    id: 'upstream-https',
    statement: 'The certificate of an https upstream is verified, also with upstreamAllowInsecureCiphers',
    keys: 'upstream: "https://<tls-upstream>", upstreamAllowInsecureCiphers: true',
    ours: { status: 502, upstream: null },
  },
  {
    id: 'insecure-https',
    statement: 'insecureHTTPS takes any certificate',
    keys: 'upstream: "https://<tls-upstream>", insecureHTTPS: true',
    ours: { status: 200, 'upstream x-forwarded-proto': 'http' },
  },
  {
    id: 'tailnet-dialer',
    statement: 'An upstream may be another node of the tailnet, by its name',
    keys: 'upstream: "http://<plain>"',
    ours: { status: 200, upstream: '/' },
  },
  {
    id: 'suppress-tailnet-dialer',
    statement: 'suppressTailnetDialer dials by the network of the host alone',
    keys: 'upstream: "http://<plain>", suppressTailnetDialer: true',
    ours: { status: 502, upstream: null },
  },
  {
    id: 'upstream-down',
    statement: 'An upstream that cannot be reached is a 502',
    keys: 'upstream: "http://<nobody>"',
    ours: { status: 502, body: refusal },
    theirs: { status: 502, body: '' },
    why: 'who sees it can tell the operator the id to look for; where the upstream is stays in the log',
  },
  {
    id: 'upstream-hangs-up',
    statement: 'An upstream that hangs up before it answers is a 502',
    send: { method: 'POST', body: 'x' },
    upstream: 'hangs up',
    ours: { status: 502, body: refusal },
    theirs: { status: 502, body: '' },
    why: 'the client learns what failed',
  },
  {
    id: 'upstream-talks-nonsense',
    statement: 'An upstream that answers something else than HTTP is a 502',
    upstream: 'talks nonsense',
    ours: { status: 502, body: refusal },
    theirs: { status: 502, body: '' },
    why: 'the client learns what failed',
  },
  {
    id: 'upstream-breaks-off',
    statement: 'A body that breaks off breaks off for the client',
    upstream: 'breaks off',
    ours: { status: 200, body: '(cut off)' },
  },
  {
    id: 'upstream-error',
    statement: 'A 5xx of the upstream is its own answer',
    upstream: { status: 503, body: 'busy' },
    ours: { status: 503, body: 'busy' },
  },
]
