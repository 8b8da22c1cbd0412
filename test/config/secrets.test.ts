/** Secrets in every key that takes a text: no message shows one, whatever else is wrong with the file. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import * as z from 'zod'
import { ConfigFile, ServiceConfig, SupervisorConfig, TCPForward } from '../../shared/config.ts'
import { shownURL, withoutSecrets } from '../../shared/secrets.ts'
import { ConfigError, renderDiagnostics } from '../../supervisor/config/diagnostic.ts'
import { parseConfig } from '../../supervisor/config/parseConfig.ts'
import { presentSchema } from '../../supervisor/config/scalar.ts'

const SECRET = 'hunter2'

/** A login among the rules of access looks like it: it may stand in the place of a URL only. */
const WITHOUT_SCHEME = `me:${SECRET}@host:80`
/** Texts that are a URL only to a person: they may stand in the place of one, and mean nothing elsewhere. */
const NO_URLS: ReadonlySet<unknown> = new Set([WITHOUT_SCHEME, `http:/me:${SECRET}@host?${SECRET}`, `http:me:${SECRET}@host`])

/** What people write where a URL or the name of a file is wanted. */
const urls = [
  `https://me:${SECRET}@host/p?token=${SECRET}#${SECRET}`,
  `http://${SECRET}@host`,
  `http://host?${SECRET}`,
  `http://me:pa/${SECRET}@host`,
  `http://me:pa ${SECRET}@host`,
  `http://me:pa#${SECRET}@host`,
  `ftp://me:${SECRET}@host`,
  `tcp://me:${SECRET}@host:22`,
  `ws://me:${SECRET}@host?${SECRET}`,
  `unix://${SECRET}@run/x.sock?${SECRET}`,
  `h2c://me:${SECRET}@host?q=${SECRET}`,
  ...[...NO_URLS].map(String),
  `tskey-auth-kABC-${SECRET}`,
  `tskey-client-kABC-${SECRET}?baseURL=https://me:${SECRET}@host`,
]

type Keys = Readonly<Record<string, unknown>>

/** Every way to put the secret under a key: a text where texts are wanted, at any depth. */
function planted(shape: z.ZodType): unknown[] {
  const wanted = presentSchema(shape)
  if (wanted instanceof z.ZodString) return urls
  if (wanted instanceof z.ZodArray)
    return planted(wanted.element as z.ZodType)
      .filter((value) => !NO_URLS.has(value))
      .map((value) => [value])
  if (wanted instanceof z.ZodRecord) {
    return [{ 'X-Custom': SECRET }, { authorization: `Bearer ${SECRET}` }, { apikey: `a, ${SECRET}` }, { bad: `\u0001${SECRET}` }]
  }
  if (wanted instanceof z.ZodObject) {
    return Object.entries(wanted.shape as Record<string, z.ZodType>).flatMap(([key, inner]) =>
      planted(inner).map((value) => ({ listenAddr: ':1', upstream: 'h:1', [key]: value })),
    )
  }
  return []
}

/** The values of authCopyHeaders mean nothing; who writes a URL for a directory of ours has it in the name of that. */
const WITHOUT_SECRETS = new Set(['authCopyHeaders', 'stateDir', 'runDir'])

const textKeys = (shape: z.ZodRawShape) =>
  Object.entries(shape as Record<string, z.ZodType>)
    .filter(([key]) => !WITHOUT_SECRETS.has(key))
    .flatMap(([key, schema]) => planted(schema).map((value): [string, unknown] => [key, value]))

/** Keys whose words go on the screen because that is what they are for. A path may be any word. */
const isShown = (key: string) => /^(name|group|hostname|allow|prefixes|tags|\w*(File|Dir|Addr|Path|Binary))$/.test(key)

const documents: [what: string, keys: Keys, document: (keys: Keys) => Keys][] = [
  ...textKeys(ServiceConfig.shape).map(
    ([key, value]) =>
      [
        `services: ${key}`,
        { [key]: value },
        (keys: Keys) => ({ services: [{ name: 'a', upstream: 'http://h', ...keys }] }),
      ] as never,
  ),
  ...textKeys(SupervisorConfig.shape).map(
    ([key, value]) =>
      [
        `supervisor: ${key}`,
        { [key]: value },
        (keys: Keys) => ({ supervisor: keys, services: [{ name: 'a', upstream: 'http://h' }] }),
      ] as never,
  ),
]

/** All that is said of a text, and what of its meaning people are shown. */
function toldOf(text: string, key: string): string {
  const told = (diagnostics: Parameters<typeof renderDiagnostics>[0]) =>
    renderDiagnostics(diagnostics, text) + JSON.stringify(diagnostics)
  try {
    const { config, notes } = parseConfig(text, 'f.yaml', {})
    const shown = isShown(key) ? '' : JSON.stringify(config.services.map(({ name, upstream, group }) => [name, upstream, group]))
    return told(notes) + shown
  } catch (error) {
    if (error instanceof ConfigError) return error.message + told(error.diagnostics)
    throw error
  }
}

/** The same text, damaged beside the secret. */
const damages: Record<string, (text: string, key: string) => string> = {
  nothing: (text) => text,
  'a key that does not exist': (text, key) => text.replace(key, `nonsense: 1\n    ${key}`),
  'a key with a letter too few': (text, key) => text.replace(key, key.slice(0, -1)),
  'a key with two letters swapped': (text, key) => text.replace(key, key.replace(/(.)(.)$/, '$2$1')),
  'a key in small letters': (text, key) => text.replace(key, key.toLowerCase()),
  'a key twice': (text, key) => text.replace(key, `${key}: x\n    ${key}`),
  'a list': (text, key) => text.replace(new RegExp(`${key}: ([^\\n]+)`), `${key}: [[$1]]`),
  'a bracket that is never closed': (text, key) => text.replace(`${key}: `, `${key}: [`),
  'a quote that is never closed': (text, key) => text.replace(`${key}: `, `${key}: "`),
  'an anchor that is not there': (text, key) => text.replace(`${key}: `, `${key}: *a `),
  'a tab': (text, key) => text.replace(key, `\t${key}`),
  'no colon': (text, key) => text.replace(`${key}:`, key),
}

describe.each(['block', 'flow'] as const)('%s', (collectionStyle) => {
  test.each(Object.keys(damages))('no secret of any key is told with %s', (damage) => {
    expect(documents.length).toBeGreaterThan(300)
    const leaks = documents.flatMap(([what, keys, document]) => {
      const [key = ''] = Object.keys(keys)
      const text = damages[damage]!(stringify(document(keys), { collectionStyle, lineWidth: 0 }), key)
      return toldOf(text, key).includes(SECRET) ? [`${what}\n${text}\n${toldOf(text, key)}`] : []
    })
    expect(leaks.slice(0, 3)).toEqual([])
  })
})

test('the keys of the file, too, and flags and variables', () => {
  for (const url of urls) {
    expect(toldOf(stringify({ prometheusAddr: url, services: [{ name: 'a', upstream: 'http://h' }] }), '')).not.toContain(SECRET)
    for (const [flag] of Object.entries(SupervisorConfig.shape)) {
      const overrides = { flags: { [flag]: url } }
      let told = ''
      try {
        parseConfig('services: [{ name: a, upstream: http://h }]', 'f', overrides)
      } catch (error) {
        told = (error as Error).message
      }
      if (!/(Dir|Binary)$/.test(flag)) expect(told).not.toContain(SECRET)
    }
  }
  expect(Object.keys(ConfigFile.shape)).toEqual(['prometheusAddr', 'supervisor', 'defaults', 'services'])
  expect(Object.keys(TCPForward.shape)).toEqual(['listenAddr', 'upstream', 'proxyProtocol', 'idleTimeout'])
})

test.each([
  ['http://me:pw@host/p?token=x', 'http://host/p?***'],
  ['https://host/p', 'https://host/p'],
  ['http://host/?a=b@c', 'http://host/?***'],
  ['http://host#x', 'http://host#***'],
  ['', ''],
])('%s is shown as %s', (url, shown) => {
  expect(shownURL(url)).toBe(shown)
})

test('what is masked already stays as it is', () => {
  const line = 'upstream: http://**********@host/p?**********'
  expect(withoutSecrets(line)).toBe(line)
})

test('a message loses the secrets of its URLs and nothing else', () => {
  expect(withoutSecrets('parse "http://u:p@ho{st?q": bad, see https://docs.example/a and http://h/x?y=z.')).toBe(
    'parse "http://***@ho{st?***": bad, see https://docs.example/a and http://h/x?***',
  )
  const word = fc.string({ unit: 'binary', maxLength: 10 }).filter((text) => !text.includes('://') && !text.includes('tskey-'))
  fc.assert(
    fc.property(word, (text) => {
      expect(withoutSecrets(text)).toBe(text)
    }),
  )
  const part = fc.string({ unit: fc.constantFrom('a', ':', '/', '?', '#', '@', '[', ']', '{', '}', '%'), maxLength: 12 })
  fc.assert(
    fc.property(part, part, (before, after) => {
      expect(withoutSecrets(`see http://${before}${SECRET}@${after} then`)).not.toContain(SECRET)
      expect(withoutSecrets(`see http://${before}?${SECRET}${after} then`)).not.toContain(SECRET)
    }),
  )
})
