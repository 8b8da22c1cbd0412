/** Which paths a service answers on, and what the upstream sees of them. */
import type { Case } from '../case.ts'

const all = ['/', '/a%2Fb', '/%61', '/a;b', '/a%20b?c=d']
const keeping = 'prefixes: [/api, /pub/, /a/b, "tailnet:/in", "funnel:/out"], stripPrefix: false'
const stripping = 'prefixes: [/api, /dir/, /first, /first/x], stripPrefix: true'

export const prefixes: readonly Case[] = [
  {
    id: 'prefixes-default',
    statement: 'Without prefixes all paths pass as they are spelled',
    ours: Object.fromEntries(all.map((path) => [path, path])),
  },
  {
    id: 'paths-are-not-redirected',
    statement: 'Paths with // or .. are not redirected before the upstream sees them',
    ours: { '//x': '//x', '/a//b': '/a//b', '/a/../b': '/a/../b', '/a/./b': '/a/./b' },
    theirs: { '//x': 307, '/a//b': 307, '/a/../b': 307, '/a/./b': 307 },
    why: 'they mean something to some upstreams, such as git and webhooks',
  },
  {
    id: 'prefix-whole-segments',
    statement: 'A prefix matches whole segments',
    keys: keeping,
    ours: { '/api': '/api', '/api/x?q=1': '/api/x?q=1', '/apikeys': 404, '/other': 404, '/': 404 },
    theirs: { '/api': '/api', '/api/x?q=1': '/api/x?q=1', '/apikeys': '/apikeys', '/other': 404, '/': 404 },
    why: 'whoever lets /api in does not mean /apikeys',
  },
  {
    id: 'prefix-not-found',
    statement: 'Where no prefix matches the answer is 404, and says no more',
    keys: keeping,
    send: { path: '/other' },
    ours: { status: 404, body: '404 page not found', upstream: null },
  },
  {
    id: 'strip-prefix-default',
    statement: 'Without stripPrefix the prefix stays',
    keys: 'prefixes: [/default]',
    ours: { '/default/x': '/default/x' },
  },
  {
    id: 'strip-prefix',
    statement: 'stripPrefix takes the prefix off, and leaves at least a slash',
    keys: stripping,
    ours: { '/api/x?q=1': '/x?q=1', '/api': '/', '/api/': '/' },
  },
  {
    id: 'strip-prefix-within-segment',
    statement: 'stripPrefix does not make /keys of /apikeys',
    keys: stripping,
    ours: { '/apikeys': 404 },
    theirs: { '/apikeys': '/keys' },
    why: 'whoever lets /api in does not mean /apikeys',
  },
  {
    id: 'strip-prefix-slashes',
    statement: 'What stripPrefix leaves does not begin with two slashes',
    keys: stripping,
    ours: { '/api//evil.example/x': 400 },
    theirs: { '/api//evil.example/x': 307 },
    why: 'some upstreams read a host in it; theirs is the redirect of all double slashes',
  },
  {
    id: 'strip-prefix-encoded',
    statement: 'What stripPrefix leaves is spelled as the client did',
    keys: stripping,
    ours: { '/api/a%20b/%C3%A9': '/a%20b/%C3%A9' },
  },
  {
    id: 'prefix-with-slash',
    statement: 'A prefix that ends with a slash does not match without it',
    keys: stripping,
    ours: { '/dir': 404, '/dir/x': '/x' },
  },
  {
    id: 'prefix-first-wins',
    statement: 'The first prefix that is listed wins, and not the longest',
    keys: stripping,
    ours: { '/first/x/y': '/x/y' },
  },
  {
    id: 'prefix-of-the-tailnet',
    statement: 'tailnet: and funnel: prefixes are for those who come that way',
    keys: keeping,
    ours: { '/in': '/in', '/out': 404 },
  },
  {
    id: 'prefix-root',
    statement: 'The prefix / is everything, and takes nothing off',
    keys: 'prefixes: [/], stripPrefix: true',
    ours: { '/': '/', '/x/y': '/x/y' },
  },
  {
    id: 'prefix-empty',
    statement: 'An empty prefix is refused',
    keys: 'prefixes: [""]',
    ours: 'refused: prefixes: want [tailnet:|funnel:]/path, without "%", "?" or "#"; "/" stands for everything',
    theirs: { '/': 404, '/x': 404 },
    why: 'it matches nothing, and the service answers 404 to everybody',
  },
  {
    id: 'prefix-encoded-dots',
    statement: 'Encoded dot segments do not lead out of a prefix',
    keys: keeping,
    ours: { '/pub/%2e%2e/admin': 400, '/pub/..%2fadmin': 400, '/pub/%252e%252e/admin': 400, '/pub/..;/admin': 400 },
    theirs: {
      '/pub/%2e%2e/admin': '/pub/%2e%2e/admin',
      '/pub/..%2fadmin': '/pub/..%2fadmin',
      '/pub/%252e%252e/admin': '/pub/%252e%252e/admin',
      '/pub/..;/admin': '/pub/..;/admin',
    },
    why: 'most upstreams read them as /admin',
  },
  {
    id: 'prefix-dots',
    statement: 'Dot segments do not lead out of a prefix',
    keys: keeping,
    ours: { '/pub/../admin': 400 },
    theirs: { '/pub/../admin': 307 },
    why: 'a request that can be read in two ways is refused, and not led elsewhere',
  },
  {
    id: 'prefix-encoded-slash',
    statement: 'An encoded slash is no slash of a prefix',
    keys: keeping,
    ours: { '/a%2Fb': 400 },
    theirs: { '/a%2Fb': 404 },
    why: 'it can be read in two ways, and is refused wherever a path decides',
  },
  {
    id: 'prefix-encoded-letter',
    statement: 'A letter that is encoded is that letter',
    keys: keeping,
    ours: { '/p%75b/x': '/p%75b/x' },
    theirs: { '/p%75b/x': 404 },
    why: 'to the upstream it is the same path',
  },
  {
    id: 'prefix-backslash',
    statement: 'A backslash is refused where a path decides',
    keys: keeping,
    ours: { '/pub/..%5cadmin': 400 },
    theirs: { '/pub/..%5cadmin': '/pub/..%5cadmin' },
    why: 'some upstreams take it for a slash',
  },
]
