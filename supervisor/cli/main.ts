#!/usr/bin/env node
import { runProgram } from './program.ts'

const exitCode = await runProgram(process.argv.slice(2), process)
// A command may have set a code of its own; success does not overrule it.
if (exitCode !== 0) process.exitCode = exitCode
