import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.HttpPost;
import org.apache.http.entity.ContentType;
import org.apache.http.entity.StringEntity;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.util.EntityUtils;

/**
 * Posts a form with the HTTP library of the client, pauses, and posts it again. Like the client, it
 * reads each answer and leaves the connection open. Prints a line for each result, and "posted" once
 * all clients have posted once. Arguments: URL, form, how many clients for each pause, pauses in
 * milliseconds.
 */
public class PostAgain {
    public static void main(String[] args) throws Exception {
        int clients = Integer.parseInt(args[2]);
        ExecutorService threads = Executors.newCachedThreadPool();
        List<CloseableHttpClient> open = new ArrayList<>();
        List<Future<String>> first = new ArrayList<>();
        for (int i = 0; i < clients * (args.length - 3); i++) {
            CloseableHttpClient client = HttpClients.createDefault();
            open.add(client);
            first.add(threads.submit(post(client, args, 0)));
        }
        print(first);
        System.out.println("posted");
        List<Future<String>> second = new ArrayList<>();
        for (int i = 0; i < open.size(); i++) {
            long pause = Long.parseLong(args[3 + i / clients]);
            second.add(threads.submit(post(open.get(i), args, pause)));
        }
        print(second);
        System.exit(0);
    }

    private static void print(List<Future<String>> results) throws Exception {
        for (Future<String> result : results) {
            System.out.println(result.get());
        }
    }

    private static Callable<String> post(CloseableHttpClient client, String[] args, long pause) {
        return () -> {
            Thread.sleep(pause);
            HttpPost post = new HttpPost(args[0]);
            post.setEntity(new StringEntity(args[1], ContentType.APPLICATION_FORM_URLENCODED));
            try (CloseableHttpResponse response = client.execute(post)) {
                EntityUtils.consume(response.getEntity());
                return response.getStatusLine().getStatusCode() + " after " + pause;
            } catch (Exception failure) {
                return failure + " after " + pause;
            }
        };
    }
}
