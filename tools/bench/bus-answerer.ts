import { connectBus } from '@soci/bus';
import { basic, type CredentialSource } from '@soci/keychain';
import { createLogger } from '@soci/log';
import { serveLookups } from '@soci/lookup';
import { plainQuestion } from './bus-question.ts';

/** As long as those of cloud registries are. */
const PASSWORD_CHARACTERS = 1_500;

/** A service that answers look-ups: `bus-answerer.ts SERVER KEYS_DIR`. */
const [server = '', keysDir = ''] = process.argv.slice(2);
const bus = connectBus({ servers: [server], keysDir, service: 'cri-proxy', log: createLogger() });
const candidate = { credential: basic('AWS', 'p'.repeat(PASSWORD_CHARACTERS)), entry: 'pull of a pod' };
const source: CredentialSource = {
  name: 'cri',
  resolve: () => Promise.resolve({ kind: 'candidates', source: 'cri', candidates: [candidate] }),
};
serveLookups({ bus, source });
bus.serve(plainQuestion, (request) => request);
