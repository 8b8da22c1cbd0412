/** The fixtures are the documentation of what is accepted, what it means, and how each error reads. `vitest -u` rewrites them. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { ConfigError, renderDiagnostics } from '../../supervisor/config/diagnostic.ts'
import { parseConfig } from '../../supervisor/config/parseConfig.ts'
import { ServiceSpec } from '../../shared/protocol.ts'

// How long it takes depends on what else the machine does, and says nothing here.
vi.setConfig({ testTimeout: 60_000 })

const fixtures = join(import.meta.dirname, '../../shared/fixtures/config')
const surroundings = { cwd: '/here', home: '/home/anna', env: {} }

function filesIn(folder: string): string[] {
  return readdirSync(join(fixtures, folder)).filter((name) => name.endsWith('.yaml'))
}

describe('accepted', () => {
  test.each(filesIn('accept'))('%s', async (name) => {
    const text = readFileSync(join(fixtures, 'accept', name), 'utf8')
    const { config, notes } = parseConfig(text, name, surroundings)
    const meaning = { ...config, notes: renderDiagnostics(notes, text).split('\n') }
    await expect(`${JSON.stringify(meaning, null, 2)}\n`).toMatchFileSnapshot(
      join(fixtures, 'accept', name.replace('.yaml', '.json')),
    )
    for (const { spec } of config.services) expect(ServiceSpec.parse(spec)).toEqual(spec)
  })
})

describe('refused', () => {
  test.each(filesIn('refuse'))('%s', async (name) => {
    const text = readFileSync(join(fixtures, 'refuse', name), 'utf8')
    let error: unknown
    try {
      parseConfig(text, name, surroundings)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(ConfigError)
    await expect(`${(error as ConfigError).message}\n`).toMatchFileSnapshot(
      join(fixtures, 'refuse', name.replace('.yaml', '.txt')),
    )
  })
})
