import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { stringify } from 'yaml'
import { ServiceSpec } from '../../shared/protocol.ts'
import { ConfigError, type Diagnostic } from '../../supervisor/config/diagnostic.ts'
import { parseConfig } from '../../supervisor/config/parseConfig.ts'

// How long it takes depends on what else the machine does, and says nothing here.
vi.setConfig({ testTimeout: 60_000 })

const valid = `prometheusAddr: "off"
supervisor: { shardSize: 3, drainTimeout: 5s }
defaults: &defaults { plaintext: yes, upstreamHeaders: { X-A: "1" } }
services:
  - name: a # the first
    upstream: 'http://127.0.0.1:1'
    tags:
    - tag:web
  - <<: *defaults
    name: b
    upstream: "http://127.0.0.1:2"
    whoisTimeout: 1m30s
`

/** What parseConfig finds wrong; anything but a ConfigError is a bug and fails the property. */
function diagnosticsOf(text: string): readonly Diagnostic[] {
  try {
    return parseConfig(text, 'f.yaml', {}).notes
  } catch (error) {
    if (error instanceof ConfigError) return error.diagnostics
    throw error
  }
}

function expectPlacesInside(text: string): void {
  const lines = text.replace(/^\uFEFF/, '').split('\n')
  for (const { line, column, length } of diagnosticsOf(text)) {
    if (line === 0) continue
    const source = lines[line - 1]
    expect(source).toBeDefined()
    expect(column).toBeGreaterThanOrEqual(1)
    expect(length).toBeGreaterThanOrEqual(1)
    // A caret may stand just behind the line: that is where something is missing.
    expect(column + length - 1).toBeLessThanOrEqual(source!.length + 1)
  }
}

const snippets = [
  'services',
  'name',
  ': ',
  ':',
  '\n',
  '\n  ',
  '- ',
  '{',
  '}',
  '[',
  ']',
  '"',
  "'",
  ', ',
  '*a',
  '&a ',
  '<<',
  '!!str ',
  '|',
  '>',
  '---',
  '%',
  '#',
  '\t',
  '\r\n',
  '~',
  '5',
  'é',
  '😀',
  '\uFEFF',
  '?',
  'defaults',
  'tags',
]

describe('a text of any kind', () => {
  test('random characters are accepted or refused with places inside the text', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), expectPlacesInside))
  })

  test('and so are random pieces of YAML', () => {
    const pieces = fc.array(fc.constantFrom(...snippets), { maxLength: 40 }).map((parts) => parts.join(''))
    fc.assert(fc.property(pieces, expectPlacesInside), { numRuns: 300 })
  })

  test('and so is a valid file with a piece cut out and something put there', () => {
    const damaged = fc
      .tuple(fc.nat(valid.length), fc.nat(20), fc.constantFrom('', ...snippets))
      .map(([at, length, piece]) => valid.slice(0, at) + piece + valid.slice(at + length))
    fc.assert(fc.property(damaged, expectPlacesInside), { numRuns: 300 })
  })

  test('and so is a valid file that ends too early', () => {
    for (let end = 0; end < valid.length; end++) expectPlacesInside(valid.slice(0, end))
  })
})

const name = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/)
const headerName = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,10}$/)
// What is no control character: those a header value cannot hold. Line separators are YAML's business, so they are in.
const headerValue = fc
  .string({ unit: 'binary', maxLength: 20 })
  .filter((text) => !/\p{Cc}|\p{Cs}|[\uFEFF\uFFFE\uFFFF]/u.test(text))
const service = fc.record(
  {
    name,
    upstream: fc.webUrl({ validSchemes: ['http', 'https'], size: 'small' }),
    plaintext: fc.constant(true),
    recommendedProxyHeaders: fc.boolean(),
    upstreamTCPAddr: fc.constantFrom('', '127.0.0.1:80', '[::1]:443', 'host:65535', ':8080'),
    ephemeral: fc.boolean(),
    tags: fc.array(fc.stringMatching(/^tag:[a-z][a-z0-9-]{0,9}$/), { maxLength: 3 }),
    listenAddr: fc.nat(65534).map((port) => `:${port + 1}`),
    upstreamHeaders: fc.dictionary(headerName, headerValue, { maxKeys: 3, noNullPrototype: true }),
    insecureHTTPS: fc.boolean(),
    suppressWhois: fc.boolean(),
    whoisTimeout: fc.integer({ min: 1, max: 100_000 }).map((ms) => `${ms}ms`),
    timeout: fc.integer({ min: 1, max: 600 }).map((seconds) => `${seconds}s`),
    group: fc.string({ maxLength: 8 }).filter((text) => !/\p{Cc}/u.test(text)),
    weight: fc.integer({ min: 1, max: 1000 }),
  },
  { requiredKeys: ['name', 'upstream', 'plaintext'] },
)

test('what is written is what is read', () => {
  const services = fc.uniqueArray(service, { minLength: 1, maxLength: 5, selector: (written) => written.name })
  fc.assert(
    fc.property(services, fc.integer({ min: 1, max: 1000 }), fc.boolean(), (written, shardSize, flow) => {
      const text = stringify({ supervisor: { shardSize }, services: written }, { collectionStyle: flow ? 'flow' : 'block' })
      const { config } = parseConfig(text, 'f.yaml', {})
      expect(config.settings.shardSize).toBe(shardSize)
      expect(config.services.map((read) => read.name)).toEqual(written.map((one) => one.name))
      for (const [index, { spec, weight, group, tags }] of config.services.entries()) {
        const one = written[index]!
        expect(ServiceSpec.parse(spec)).toEqual(spec)
        expect(spec.proxy?.upstream).toBe(one.upstream)
        expect(spec.proxy?.upstreamHeaders).toEqual(one.upstreamHeaders ?? {})
        expect(spec.proxy?.whois).toBe(!(one.suppressWhois ?? false))
        expect(spec.listeners[0]?.address).toBe(one.listenAddr ?? ':443')
        expect({ weight, group, tags }).toEqual({ weight: one.weight ?? 1, group: one.group ?? '', tags: one.tags ?? [] })
      }
    }),
  )
})

test('the hash of a service depends on what its worker is told and on nothing else', () => {
  const hash = (keys: string) =>
    parseConfig(`services: [{ name: a, upstream: "http://h", plaintext: true, ${keys} }]`, 'f', {}).config.services[0]!.spec
      .specHash
  expect(hash('upstreamHeaders: { A: 1, B: 2 }')).toBe(hash('upstreamHeaders: { B: "2", A: "1" }, whoisTimeout: 1000ms'))
  expect(hash('weight: 5, group: g, authkeyPath: /k')).toBe(hash(''))
  for (const change of ['ephemeral: true', 'listenAddr: ":80"', 'upstreamTCPAddr: "h:1"', 'timeout: 2m'])
    expect(hash(change)).not.toBe(hash(''))
})
