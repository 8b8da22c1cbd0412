import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { configurationReference } from '../../scripts/configurationReference.ts'
import { ConfigFile, ServiceConfig, SupervisorConfig, TCPForward } from '../../shared/config.ts'

const { prometheusAddr } = ConfigFile.shape

/** The schemas by key, in the order of the page's tables. */
const tables = [{ ...SupervisorConfig.shape, prometheusAddr }, ServiceConfig.shape, TCPForward.shape]

/** Key, default and example of each row, as they are written. */
const rows = configurationReference()
  .split('\n\n')
  .filter((block) => block.startsWith('| key'))
  .map((block) => block.split('\n').slice(2))
  .map((lines) => lines.map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll(/^`|`$/g, ''))))

describe('the reference of the configuration', () => {
  it.each(tables.map((schemas, i) => [i, schemas] as const))(
    'has each key of table %i, with an example that may be written',
    (i, schemas) => {
      const written = (rows[i] ?? []).map(([, key, , before, example]) => ({ key, before, example }))
      expect(written.map(({ key }) => key)).toEqual(Object.keys(schemas))
      for (const { key, before, example = '' } of written) {
        expect(example, key).not.toBe(before)
        const schema = Object.entries(schemas).find(([name]) => name === key)?.[1]
        expect(schema?.safeParse(parse(example)), `${String(key)}: ${example}`).toMatchObject({ success: true })
      }
    },
  )
})
