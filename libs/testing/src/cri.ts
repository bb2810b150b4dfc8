import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { cri } from '@soci/proto';

export interface Login {
  readonly username: string;
  readonly password: string;
}

/** How a kubelet asks for an image. */
export interface PullOptions {
  readonly timeoutMs?: number;
  /** Kubernetes namespace of the pod that it is for; left out, as crictl does, the request names none. */
  readonly namespace?: string;
}

/** The other forms of a login that the protocol has. */
export interface TokenLogin {
  /** Base64 of `username:password`. */
  readonly auth?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
}

/** The image service of a containerd, spoken to as the kubelet does. */
export class Cri implements Disposable {
  readonly #images: cri.ImageServiceClient;

  /** @param address path of containerd's unix socket, or of a socket that stands before it */
  constructor(address: string) {
    this.#images = new cri.ImageServiceClient(`unix:${address}`, credentials.createInsecure());
  }

  /** @returns the id of the pulled image */
  pullImage(reference: string, login?: Login | TokenLogin, { timeoutMs = 300_000, namespace }: PullOptions = {}): Promise<string> {
    const request = cri.PullImageRequest.fromPartial({
      image: { image: reference },
      ...(login === undefined ? {} : { auth: login }),
      ...(namespace === undefined ? {} : { sandboxConfig: { metadata: { name: 'pod', uid: `uid-${namespace}`, namespace, attempt: 0 } } }),
    });
    return new Promise((resolve, reject) => {
      this.#images.pullImage(request, new Metadata(), { deadline: Date.now() + timeoutMs }, (error: ServiceError | null, response) => {
        if (error) reject(error);
        else resolve(response.imageRef);
      });
    });
  }

  removeImage(reference: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#images.removeImage(cri.RemoveImageRequest.fromPartial({ image: { image: reference } }), (error) =>
        error ? reject(error) : resolve(),
      );
    });
  }

  [Symbol.dispose](): void {
    this.#images.close();
  }
}
