/** What `validate` accepts, the worker accepts: of any configuration, put to the worker's own code. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { execa } from 'execa'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import * as z from 'zod'
import { ServiceConfig } from '../../shared/config.ts'
import { ConfigError } from '../../supervisor/config/diagnostic.ts'
import { parseConfig, type ResolvedService } from '../../supervisor/config/parseConfig.ts'
import { presentSchema } from '../../supervisor/config/scalar.ts'

let directory: string
let tool: ChildProcessWithoutNullStreams
let answers: AsyncIterator<string>

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsnsrv-specs-'))
  const program = join(directory, 'tsnsrv-specs')
  const cwd = join(import.meta.dirname, '../../worker')
  await execa('go', ['build', '-trimpath', '-o', program, './cmd/tsnsrv-specs'], { cwd, env: { CGO_ENABLED: '0' } })
  tool = spawn(program)
  answers = createInterface({ input: tool.stdout })[Symbol.asyncIterator]()
}, 600_000)
afterAll(async () => {
  tool.kill()
  await rm(directory, { recursive: true })
})

/** Why a worker would not run a service; empty when it would. */
async function workerSays({ spec }: ResolvedService): Promise<string> {
  tool.stdin.write(`${JSON.stringify(spec)}\n`)
  return String((await answers.next()).value)
}

/** The services of a configuration, or null when it is refused. */
function accepted(service: object): readonly ResolvedService[] | null {
  try {
    return parseConfig(stringify({ services: [service] }), 'f.yaml', {}).config.services
  } catch (error) {
    if (error instanceof ConfigError) return null
    throw error
  }
}

/** What two readers may take for different things, or one of them for nothing. */
const pieces = [
  ...['{', '}', '|', '^', '`', '"', "'", '<', '>', '\\', ' ', '%', '%zz', '%00', '%2f', '%25', '#', '?', '@', '[', ']', '(', ')'],
  ...['::', '..', '.', '*', '_', '-', ',', ';', '=', '+', '~', '$', '${A}', '!', '&', '/', '//', ':', ':0', ':99999', ':80'],
  ...['\t', '\n', '\r', '\u0000', '\u007f', '\u0085', '\u00a0', '\u200b', '\u2028', 'é', 'ß', 'İ', '😀', 'xn--', 'XN--A', '٣'],
  ...['1', '01', '0x1', '-1', '1e3', '2001:db8::1', '[::1]', '[fe80::1%25eth0]', '127.1', 'tag:', 'a b', 'A', 'x'.repeat(300)],
]
const piece = fc.constantFrom(...pieces)

/** A text of a schema: one of its examples, that with something put into it or taken out, or something else altogether. */
function texts(schema: z.ZodType, examples: readonly string[]): fc.Arbitrary<string> {
  const known = examples.length === 0 ? ['x', ''] : examples
  const damaged = fc
    .record({ text: fc.constantFrom(...known), at: fc.nat(40), cut: fc.nat(3), put: fc.array(piece, { maxLength: 2 }) })
    .map(({ text, at, cut, put }) => {
      const place = at % (text.length + 1)
      return text.slice(0, place) + put.join('') + text.slice(place + cut)
    })
  const written = fc.oneof(
    fc.constantFrom(...known),
    { arbitrary: damaged, weight: 6 },
    fc.string({ unit: 'binary', maxLength: 8 }),
    piece,
  )
  return written.filter((text) => schema.safeParse(text).success)
}

/** Values that a schema takes by itself. */
function values(schema: z.ZodType): fc.Arbitrary<unknown> {
  const wanted = presentSchema(schema)
  const examples = (z.array(z.unknown()).safeParse(wanted.meta()?.examples).data ?? []).flat()
  const words = examples.filter((example) => typeof example === 'string')
  if (wanted instanceof z.ZodString) return texts(wanted, words)
  if (wanted instanceof z.ZodBoolean) return fc.boolean()
  if (wanted instanceof z.ZodNumber) {
    return fc.oneof(fc.constantFrom(...examples), fc.nat(), fc.double()).filter((number) => wanted.safeParse(number).success)
  }
  if (wanted instanceof z.ZodArray) {
    const element = wanted.element as z.ZodType
    return fc.array(element instanceof z.ZodString ? texts(element, words) : values(element), { maxLength: 3 })
  }
  if (wanted instanceof z.ZodRecord) {
    const pairs = examples.flatMap((example) => Object.entries(example as object))
    const names = texts(wanted.keyType as z.ZodType, [...pairs.map(([name]) => name), 'Host', 'Connection', 'Content-Length'])
    return fc.dictionary(
      names,
      texts(
        wanted.valueType as z.ZodType,
        pairs.map(([, value]) => String(value)),
      ),
      { maxKeys: 3, noNullPrototype: true },
    )
  }
  if (wanted instanceof z.ZodObject)
    return fc.record(mapShape(wanted.shape as z.ZodRawShape), { requiredKeys: ['listenAddr', 'upstream'] })
  throw new Error(`no values for ${wanted.type}: teach the test`)
}

const mapShape = (shape: z.ZodRawShape) =>
  Object.fromEntries(Object.entries(shape as Record<string, z.ZodType>).map(([key, schema]) => [key, values(schema)]))

const { name, upstream, ...others } = ServiceConfig.shape
const upstreams = texts(upstream, [
  'http://127.0.0.1:3000',
  'https://me:secret@wiki.internal:8443/base/?q=1#top',
  'http://[2001:db8::1]:80/a%20b',
  'https://bücher.example',
])

/** Services whose keys are right, each by itself; what the rules between them refuse is thrown away. One unusual key at a time finds most. */
/** A service that reads all its keys, those of the auth server too. */
const plain = {
  name: fc.constant('a'),
  upstream: fc.constant('http://127.0.0.1:1'),
  authURL: fc.constant('http://127.0.0.1:9091'),
}
const one = fc.record({ name: values(name), upstream: upstreams })
const single = fc
  .constantFrom(...Object.entries(mapShape(others)))
  .chain(([key, value]) => fc.record({ name: fc.constant('a'), upstream: fc.constant('http://127.0.0.1:1'), [key]: value }))
const several = fc.shuffledSubarray(Object.keys(others), { minLength: 2, maxLength: 4 }).chain((keys) =>
  fc.record({
    ...plain,
    ...Object.fromEntries(keys.map((key) => [key, values((others as Record<string, z.ZodType>)[key]!)])),
  }),
)

test.each([
  ['whatever the name and the upstream are', one, 3000],
  ['whatever one of the other keys is', single, 6000],
  ['whatever some of them are', several, 3000],
] as const)(
  'a service that validate accepts is accepted by the worker, %s',
  async (_what, services, numRuns) => {
    let taken = 0
    await fc.assert(
      fc.asyncProperty(services, async (service) => {
        const resolved = accepted(service)
        if (resolved === null) return
        taken++
        for (const one of resolved) expect(await workerSays(one)).toBe('')
      }),
      { numRuns },
    )
    // Nothing is shown by configurations that are all refused.
    expect(taken).toBeGreaterThan(numRuns / 20)
  },
  120_000,
)

test('the tool tells what a worker would refuse', async () => {
  const [service] = accepted({ name: 'a', upstream: 'http://127.0.0.1:1' }) ?? []
  expect(await workerSays(service!)).toBe('')
  const { spec } = service!
  const wrong = { ...service!, spec: { ...spec, proxy: { ...spec.proxy!, upstream: 'http://ho{st' } } }
  expect(await workerSays(wrong)).toContain('invalid character')
})
