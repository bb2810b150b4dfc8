import { faultSuite } from './fault-suite.ts';

// What a container meets when a request for its bytes fails; all else is in the long tests.
faultSuite(['span'], ['once']);
