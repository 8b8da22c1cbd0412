import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { watchPeakRss } from '../harness/measure/peakRss.ts'
import { difference, sampleMemory, sampleTree } from '../harness/measure/processTree.ts'
import { type Child, node, startChild } from './child.ts'

/** What the kernel's ticks, and waking up to answer, may add or hide, in CPU seconds. */
const SLACK = 0.1
const MIB = 1024 * 1024

const children: Child[] = []
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.end()))
})

function child(script?: string): Child {
  const started = startChild(script)
  children.push(started)
  return started
}

/** A child with a child of its own, which does what it is asked; "exit" ends that one, and it is waited for. */
function parent(): Child {
  const [file, args] = node('burn(Number(line)); return used()')
  return child(`
    globalThis.under ??= require('node:child_process').spawn(${JSON.stringify(file)}, ${JSON.stringify(args)})
    if (line === 'exit') {
      under.stdin.end()
      return new Promise((done) => under.once('exit', done))
    }
    under.stdin.write(line + '\\n')
    return new Promise((done) => under.stdout.once('data', (text) => done(String(text).trim())))
  `)
}

describe('CPU time', () => {
  it('is what a process itself says', async () => {
    const busy = child()
    const used = Number(await busy.ask('0'))
    const before = sampleTree([busy.pid])
    const told = Number(await busy.ask('0.5')) - used
    const after = sampleTree([busy.pid])
    expect(Math.abs(difference(before, after).cpuSeconds - told)).toBeLessThan(SLACK)
    expect(Math.abs(after.cpuSeconds - used - told)).toBeLessThan(SLACK)
  })

  it('includes a child that came and went, once', async () => {
    const root = parent()
    const before = sampleTree([root.pid])
    const told = Number(await root.ask('0.5'))
    const between = sampleTree([root.pid])
    await root.ask('exit')
    const after = sampleTree([root.pid])
    expect(between.processes).toBe(2)
    expect(after.processes).toBe(1)
    const own = after.members[0]!.cpuSeconds - before.members[0]!.cpuSeconds
    expect(difference(before, between).cpuSeconds).toBeGreaterThan(told - SLACK)
    expect(Math.abs(difference(before, after).cpuSeconds - own - told)).toBeLessThan(SLACK)
  })

  it('leaves out what a child that went had used before', async () => {
    const root = parent()
    const used = Number(await root.ask('0.5'))
    const before = sampleTree([root.pid])
    const told = Number(await root.ask('0.3')) - used
    await root.ask('exit')
    const after = sampleTree([root.pid])
    expect(after.members[0]!.reapedSeconds).toBeGreaterThan(0.7)
    expect(Math.abs(difference(before, after).cpuSeconds - told)).toBeLessThan(SLACK)
  })

  it('of a root that went does not lessen that of the others', async () => {
    const [staying, going] = [child(), child()]
    await going.ask('0.5')
    const used = Number(await staying.ask('0'))
    const before = sampleTree([staying.pid, going.pid])
    const told = Number(await staying.ask('0.3')) - used
    await going.end()
    const after = sampleTree([staying.pid, going.pid])
    expect(Math.abs(difference(before, after).cpuSeconds - told)).toBeLessThan(SLACK)
  })
})

it('counts the switches of every thread, not only of the main one', async () => {
  const threaded = child(`
    const { Worker } = require('node:worker_threads')
    globalThis.thread ??= new Worker(\`
      const { parentPort } = require('node:worker_threads')
      const cell = new Int32Array(new SharedArrayBuffer(4))
      parentPort.on('message', (waits) => {
        for (let i = 0; i < waits; i++) Atomics.wait(cell, 0, 0, 1)
        parentPort.postMessage('done')
      })
    \`, { eval: true })
    thread.postMessage(Number(line))
    return new Promise((done) => thread.once('message', done))
  `)
  await threaded.ask('0')
  const before = sampleTree([threaded.pid])
  await threaded.ask('500')
  const after = sampleTree([threaded.pid])
  const main = after.members[0]!.threads.get(threaded.pid)!
  expect(after.threads).toBeGreaterThan(1)
  expect(difference(before, after).voluntarySwitches).toBeGreaterThanOrEqual(500)
  expect(main.voluntary).toBeLessThan(500)
  expect(readFileSync(`/proc/${threaded.pid}/status`, 'utf8')).toContain(`\nvoluntary_ctxt_switches:\t${main.voluntary}\n`)
})

it('tells memory by share and in whole', async () => {
  const root = parent()
  const holder = child(`globalThis.held = Buffer.alloc(Number(line), 1); return 'held'`)
  await root.ask('0')
  const before = { tree: sampleTree([holder.pid]), memory: sampleMemory([holder.pid]) }
  await holder.ask(String(100 * MIB))
  const after = { tree: sampleTree([holder.pid]), memory: sampleMemory([holder.pid]) }
  expect(after.memory.pssBytes - before.memory.pssBytes).toBeGreaterThan(95 * MIB)
  expect(after.tree.rssBytes - before.tree.rssBytes).toBeGreaterThan(90 * MIB)
  // Two processes of one program share its pages.
  const two = sampleMemory([root.pid])
  expect(two.pssBytes).toBeLessThan(0.9 * two.rssBytes)
})

it('counts a process that is below two roots once, and nobody for a pid of nobody', async () => {
  const root = parent()
  await root.ask('0')
  const tree = sampleTree([root.pid])
  expect(tree.members.map(({ parentPid }) => parentPid)).toEqual([process.pid, root.pid])
  const under = tree.members[1]!.pid
  expect(sampleTree([under, root.pid, under]).members.map(({ pid }) => pid)).toEqual([root.pid, under])
  expect(sampleTree([2 ** 22 + 1])).toMatchObject({ processes: 0, threads: 0, cpuSeconds: 0, rssBytes: 0, members: [] })
  expect(sampleMemory([2 ** 22 + 1])).toEqual({ pssBytes: 0, rssBytes: 0 })
})

it('counts what has ended, but was not waited for, as no process', async () => {
  // cat never waits for the child that it takes over from sh.
  const root = startChild('', ['sh', ['-c', 'true & exec cat']])
  children.push(root)
  await vi.waitFor(() => {
    expect(sampleTree([root.pid]).members.map(({ zombie }) => zombie)).toEqual([false, true])
  })
  const tree = sampleTree([root.pid])
  expect(tree).toMatchObject({ processes: 1, threads: 1 })
  expect(sampleMemory([root.pid]).pssBytes).toBeGreaterThan(0)
})

it('samples while processes come and go', async () => {
  // Several at a time, of which some end during any sample, however long that takes.
  const bunch = 'for seconds in 0.01 0.02 0.04 0.08 0.16; do sleep $seconds & done; wait'
  const restless = spawn('sh', ['-c', `i=0; while [ $i -lt 8 ]; do ${bunch}; i=$((i+1)); done`])
  const ended = once(restless, 'exit')
  const sizes: number[] = []
  while (restless.exitCode === null) {
    sizes.push(sampleTree([restless.pid!]).members.length)
    sampleMemory([restless.pid!])
    // Without a pause the end of the child would never be heard of.
    await new Promise((turn) => setImmediate(turn))
  }
  await ended
  expect(Math.max(...sizes)).toBeGreaterThan(1)
})

it('remembers the most memory that a tree has had', async () => {
  const holder = child(`globalThis.held = Buffer.alloc(Number(line), 1); return 'held'`)
  let looks = 0
  const watch = watchPeakRss(() => {
    looks += 1
    return [holder.pid]
  })
  await holder.ask(String(100 * MIB))
  const seen = looks
  await vi.waitFor(() => {
    expect(looks).toBeGreaterThan(seen)
  }, 5000)
  await holder.end()
  expect(watch.stop()).toBeGreaterThan(100 * MIB)
})
