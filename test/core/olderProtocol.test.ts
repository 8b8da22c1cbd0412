/** What a worker of the version before said and took, kept as files: it means the same as what one of this version does. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { fromWorker, toWorker } from '../../shared/olderProtocol.ts'
import { OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, ServiceSpec, WorkerEvent, WorkerState } from '../../shared/protocol.ts'

function fixture(folder: 'accept' | 'older', name: string): unknown {
  const file = join(import.meta.dirname, '..', '..', 'shared', 'fixtures', 'protocol', folder, `${name}.json`)
  return (JSON.parse(readFileSync(file, 'utf8')) as { value: unknown }).value
}

it.each([
  ['workerState', WorkerState],
  ['eventState', WorkerEvent],
  ['eventService', WorkerEvent],
] as const)('an older worker says %s', (name, shape) => {
  expect(shape.safeParse(fixture('older', name)).success).toBe(false)
  const said = shape.parse(fromWorker(fixture('older', name)))
  expect(said).toEqual(shape.parse(fixture('accept', name)))
})

it('a worker of this version is taken at its word', () => {
  for (const name of ['workerState', 'eventState', 'eventService', 'eventRemoved', 'eventAlive'])
    expect(fromWorker(fixture('accept', name))).toEqual(fixture('accept', name))
})

it('an older worker is told of a service in its own shapes', () => {
  const spec = ServiceSpec.parse(fixture('accept', 'serviceSpecEverything'))
  expect(toWorker(OLDEST_PROTOCOL_VERSION, spec)).toEqual(fixture('older', 'serviceSpecEverything'))
  expect(toWorker(PROTOCOL_VERSION, spec)).toEqual(spec)
})
