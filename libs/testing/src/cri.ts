import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { cri } from '@soci/proto';

export interface Login {
  readonly username: string;
  readonly password: string;
}

/** The image service of a containerd, spoken to as the kubelet does. */
export class Cri implements Disposable {
  readonly #images: cri.ImageServiceClient;

  /** @param address path of containerd's unix socket, or of a socket that stands before it */
  constructor(address: string) {
    this.#images = new cri.ImageServiceClient(`unix:${address}`, credentials.createInsecure());
  }

  /** @returns the id of the pulled image */
  pullImage(reference: string, login?: Login, timeoutMs = 300_000): Promise<string> {
    const request = cri.PullImageRequest.fromPartial({ image: { image: reference }, ...(login === undefined ? {} : { auth: login }) });
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
