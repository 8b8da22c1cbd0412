#!/usr/bin/env node
import { hello, serve, wellBehaved } from './base.mjs'

hello.protocolVersion = 99
serve(wellBehaved)
