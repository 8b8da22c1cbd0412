/** The same fixtures are read by worker/internal/protocol: what one language accepts, the other does. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { protocolShapes } from '../../shared/protocol.ts'

const directory = join(import.meta.dirname, '..', '..', 'shared', 'fixtures', 'protocol')
const Fixture = z.object({ shape: z.enum(Object.keys(protocolShapes) as (keyof typeof protocolShapes)[]), value: z.unknown() })

describe.each([
  ['accept', true],
  ['refuse', false],
] as const)('protocol fixtures to %s', (kind, accepted) => {
  const files = readdirSync(join(directory, kind))

  it('are there', () => {
    expect(files.length).toBeGreaterThan(10)
  })

  it.each(files)('%s', (file) => {
    const { shape, value } = Fixture.parse(JSON.parse(readFileSync(join(directory, kind, file), 'utf8')))
    expect(protocolShapes[shape].safeParse(value).success).toBe(accepted)
  })
})
