/** What is there beside the services. */
import type { Case } from '../case.ts'

export const operation: readonly Case[] = [
  {
    id: 'isolation',
    statement: 'A service that cannot start disturbs no other',
    failing: 'stateDir: <directory>/cert.pem/not-a-directory',
    ours: { status: 200 },
    theirs: { status: null },
    why: 'one mistake would take all services down',
  },
  {
    id: 'listen-addr-default',
    statement: 'listenAddr is :443, with plaintext too',
    keys: 'listenAddr: ""',
    send: { to: 443 },
    ours: { status: 200, 'upstream x-forwarded-proto': 'http' },
  },
  {
    id: 'listen-addr',
    statement: 'listenAddr may be any port',
    keys: 'listenAddr: ":8080"',
    send: { to: 8080 },
    ours: { status: 200 },
  },
  {
    id: 'oauth-client-secret',
    statement: 'With an OAuth client secret in the file of authkeyPath, a key for one use is made with the tags of the service',
    keys: 'authkeyPath: <directory>/client-secret, tags: ["tag:web", "tag:home"], ephemeral: true',
    ours: { status: 200, minted: 'ephemeral true, preauthorized false, reusable false, tags tag:web,tag:home' },
  },
  {
    id: 'metrics',
    statement: 'prometheusAddr serves /metrics',
    send: { to: 'metrics' },
    ours: { '/metrics': 200 },
  },
  {
    id: 'metric-names',
    statement: 'Requests and their durations are counted',
    ours: {
      status: 200,
      'metrics tsnsrv_request_duration_seconds': 'there',
      'metrics tsnsrv_requests_total': 'there',
      'metrics tsnsrv_request_duration_ns': null,
      'metrics tsnsrv_response_status_classes': null,
    },
    theirs: {
      status: 200,
      'metrics tsnsrv_request_duration_seconds': null,
      'metrics tsnsrv_requests_total': null,
      'metrics tsnsrv_request_duration_ns': 'there',
      'metrics tsnsrv_response_status_classes': 'there',
    },
    why: 'Prometheus wants seconds and names that end in _total, and a histogram can be added up over services',
  },
  {
    id: 'pprof',
    statement: 'prometheusAddr does not serve pprof',
    send: { to: 'metrics' },
    ours: { '/debug/pprof/': 404, '/debug/pprof/cmdline': 404 },
    theirs: { '/debug/pprof/': 200, '/debug/pprof/cmdline': 200 },
    why: 'it shows memory and command line to whoever asks',
  },
  {
    id: 'log-query',
    statement: 'Queries are not logged',
    send: { path: '/?token=s3cret-query' },
    ours: { status: 200, 'log s3cret-query': null },
    theirs: { status: 200, 'log s3cret-query': 'written' },
    why: 'they carry tokens; accessLogQuery is there for who wants them',
  },
  {
    id: 'log-query-denied',
    statement: 'Queries are not logged when a request is denied',
    keys: 'prefixes: [/default]',
    send: { path: '/?token=s3cret-denied' },
    ours: { status: 404, 'log s3cret-denied': null },
    theirs: { status: 404, 'log s3cret-denied': 'written' },
    why: 'they carry tokens',
  },
]
