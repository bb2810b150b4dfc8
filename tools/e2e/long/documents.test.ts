// The same once more, now with an API server for the commands that need one.
import '../registry-authentication.test.ts';
