/** The same fixtures are read by worker/internal/protocol: what one language accepts, the other does. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { protocolShapes } from '../../shared/protocol.ts'

const directory = join(import.meta.dirname, '..', '..', 'shared', 'fixtures', 'protocol')
const Fixture = z.object({ shape: z.enum(Object.keys(protocolShapes) as (keyof typeof protocolShapes)[]), value: z.unknown() })

/** One change of a value that is accepted: nothing else can be the reason. `at` is a JSON pointer; without `value` it is removed. */
const Refused = z.object({ name: z.string(), base: z.string(), at: z.string(), value: z.unknown().optional() })

function read(file: string): unknown {
  return JSON.parse(readFileSync(join(directory, file), 'utf8'))
}

const accepted = readdirSync(join(directory, 'accept'))
const refused = z.array(Refused).parse(read('refuse.json'))

describe('protocol fixtures', () => {
  it('are there', () => {
    expect([accepted.length, refused.length].every((count) => count > 10)).toBe(true)
  })

  it.each(accepted)('%s is accepted', (file) => {
    const { shape, value } = Fixture.parse(read(join('accept', file)))
    expect(protocolShapes[shape].safeParse(value).error).toBeUndefined()
  })

  it.each(refused)('$name is refused, there and nowhere else', ({ base, at, value }) => {
    const { shape, value: changed } = Fixture.parse(read(join('accept', `${base}.json`)))
    const path = at.split('/').slice(1)
    change(changed, path, value)
    const { error } = protocolShapes[shape].safeParse(changed)
    const found = error?.issues.map((issue) => issue.path.map(String)) ?? []
    expect(found.length).toBeGreaterThan(0)
    for (const each of found) expect(path.slice(0, each.length)).toEqual(each)
  })
})

function change(within: unknown, [key = '', ...rest]: string[], value: unknown): void {
  const holder = within as Record<string, unknown>
  if (rest.length > 0) change(holder[key], rest, value)
  else if (value === undefined) Reflect.deleteProperty(holder, key)
  else holder[key] = value
}
