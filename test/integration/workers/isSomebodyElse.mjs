#!/usr/bin/env node
import { hello, serve, wellBehaved } from './base.mjs'

hello.workerId = 'shard-9-other'
serve(wellBehaved)
