/** The table that the worker is held to as well: worker/internal/service/disturbance_test.go does to real nodes what it says. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { Disturbance } from '../../shared/api.ts'
import { IdentitySpec, ServiceSpec } from '../../shared/protocol.ts'
import { changeOfSpec } from '../../supervisor/core/disturbance.ts'

const Spec = ServiceSpec.omit({ specHash: true })
const Part = z.record(z.string(), z.unknown())
const Table = z.object({
  base: Spec,
  changes: z.array(
    z.object({
      what: z.string(),
      from: Part.optional(),
      change: Part,
      disturbs: Disturbance,
      fields: z.array(z.string()),
    }),
  ),
})

const table = Table.parse(
  JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'shared', 'fixtures', 'disturbances.json'), 'utf8')),
)

/** Objects are merged key by key; everything else is replaced. */
function merged(base: unknown, change: unknown): unknown {
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  if (!isObject(base) || !isObject(change)) return change
  return { ...base, ...Object.fromEntries(Object.entries(change).map(([key, value]) => [key, merged(base[key], value)])) }
}

describe('a change', () => {
  it.each(table.changes)('$what: $disturbs', ({ from = {}, change, disturbs, fields }) => {
    const before = Spec.parse(merged(table.base, from))
    const after = Spec.parse(merged(table.base, change))
    expect(changeOfSpec(before, after)).toEqual({ disturbs, fields })
  })

  it('of every key of a node is in the table', () => {
    const told = new Set(table.changes.flatMap(({ fields }) => fields))
    expect(Object.keys(IdentitySpec.shape).filter((key) => !told.has(key))).toEqual([])
  })

  it('to the same is none', () => {
    expect(changeOfSpec(table.base, structuredClone(table.base))).toBeNull()
  })
})
